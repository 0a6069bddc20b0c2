"""The subcommands, one file per part of the loop."""
