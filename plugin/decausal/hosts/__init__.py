"""Adapters to training toolkits, one thin file each; a toolkit is imported only by the run that uses it."""
