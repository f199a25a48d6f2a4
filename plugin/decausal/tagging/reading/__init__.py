"""Annotated text of every format, one file each, made into sentences of words and tags."""
