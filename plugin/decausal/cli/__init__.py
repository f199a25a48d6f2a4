# ruff: isort: skip_file
"""`decausal ...`: the command line. Heavy imports wait until a command needs them."""

from decausal.cli.app import app, main

# In the order in which --help shows their commands.
from decausal.cli import recipes, taggers, sweeps, models, data

__all__ = ["app", "data", "main", "models", "recipes", "sweeps", "taggers"]
