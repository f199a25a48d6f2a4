"""Sequence labelling: the life of a sentence from words to tags."""
