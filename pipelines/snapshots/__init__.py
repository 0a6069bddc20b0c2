"""Snapshots: freeze validated data as a version, compare two versions, restore one."""
