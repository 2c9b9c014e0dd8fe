"""`python -m stadx` is the command `stadx`."""

from stadx.cli import main

main()
