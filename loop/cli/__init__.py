"""The command line: parse, wire, call, print."""

from loop.cli.main import main

__all__ = ["main"]
