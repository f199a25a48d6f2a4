"""The errors a caller can act on; wrong arguments raise plain `ValueError` or `TypeError`."""


class UnsupportedModelError(ValueError):
    """A model, layer or attention kernel in which the pattern cannot be honoured exactly."""


class DataError(ValueError):
    """Annotated text that cannot be read as asked: names the file, the line and what was expected."""


class CheckpointError(ValueError):
    """A directory that holds no usable checkpoint, or one whose pattern is missing or contradicts the model."""
