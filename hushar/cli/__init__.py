"""The command line: one file a command, parsing and printing only."""

from hushar.cli.root import main

__all__ = ["main"]
