"""Sequence labelling: the life of a sentence from words to tags."""

import logging

# On some CPUs it names, in every process that imports PEFT, a package that models in 4 bits could use there.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
