"""`python -m loop.cli` is `nightshift`."""

from loop.cli.main import main

main()
