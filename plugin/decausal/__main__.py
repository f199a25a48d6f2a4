"""`python -m decausal ...`: the command line."""

from decausal.cli import main

main()
