"""Defects that were never photographed: drawn, or cut from one part and set into another. For training only."""
