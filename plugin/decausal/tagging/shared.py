"""One adapter for many patterns: every step trains it with another pattern, and in the end each is scored with it."""

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig

from decausal._attach import Handle
from decausal._layers import is_encoder, num_decoder_layers
from decausal._pattern import LayerPattern
from decausal.tagging.arguments import TaggingArguments
from decausal.tagging.metrics import score
from decausal.tagging.patterns import parse_patterns
from decausal.tagging.splits import Split
from decausal.tagging.trainer import TaggingTrainer


class SharedTrainer(TaggingTrainer):
    """A `TaggingTrainer` that opens the layers of another pattern in every optimizer step.

    The patterns come in rounds, each round in an order of the seed alone: all are trained equally often, but for a
    round that is cut off. A run that goes on, on any number of processes, draws what an uninterrupted one does.

    Args:
        patterns: of layers that are all unmasked.
        **kwargs: those of `TaggingTrainer`.
    """

    def __init__(self, *, patterns: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patterns = tuple(patterns)

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """As in `TaggingTrainer`, with the pattern of this step.

        Raises:
            ValueError: there are more patterns than steps, so that some would be scored untrained.
        """
        if self.state.max_steps < len(self.patterns):
            raise ValueError(
                f"shared_patterns has {len(self.patterns)} patterns, and the run {self.state.max_steps} steps: give "
                f"fewer patterns, or more epochs."
            )
        with self._only(self.pattern_of(self.state.global_step)):
            return super().training_step(model, *args, **kwargs)

    def pattern_of(self, step: int) -> str:
        """The pattern that a step, counted from 0, trains with."""
        number, place = divmod(step, len(self.patterns))
        return random.Random(f"{self.args.seed} {number}").sample(self.patterns, len(self.patterns))[place]

    def score_patterns(self, split: Split) -> dict[str, dict[str, float]]:
        """For each pattern how well the adapter tags a split with it: `f1` and the like, 0-100, and the mean `loss`."""
        found = {}
        for pattern in self.patterns:
            with self._only(pattern):
                tags, loss = self.tag_with_loss(split)
            found[pattern] = score(split.sentences["tags"], tags).headline() | {"loss": loss}
        return found

    def _only(self, pattern: str) -> AbstractContextManager[nn.Module]:
        assert self.model is not None
        return Handle.of(self.model).only(pattern)


def read_patterns(tagging: TaggingArguments, config: PreTrainedConfig, layers: Sequence[int]) -> tuple[str, ...]:
    """The patterns that share the adapter of a run; none where every step has the same.

    Args:
        tagging: holds `shared_patterns`.
        config: of the model.
        layers: those that `unmask` opens.

    Raises:
        TypeError: they are no text.
        ValueError: the model's layers have no patterns, or one of them opens a layer that `unmask` does not.
    """
    if tagging.shared_patterns is None:
        return ()
    if not isinstance(tagging.shared_patterns, str):
        raise TypeError(
            f'shared_patterns={tagging.shared_patterns!r}: write one text in quotes, as in "suffixes:4" or "0001 0011".'
        )
    num_layers = num_decoder_layers(config.get_text_config(decoder=True))
    if num_layers is None or is_encoder(config):
        raise ValueError(f"shared_patterns={tagging.shared_patterns!r}: the layers of this model have no patterns.")
    patterns = parse_patterns(tagging.shared_patterns, num_layers)
    for pattern in patterns:
        if not set(LayerPattern(pattern).layers(num_layers)) <= set(layers):
            raise ValueError(
                f"shared_patterns={tagging.shared_patterns!r}: {pattern} has layers that unmask={tagging.unmask!r} "
                f'does not open; give unmask all layers of all patterns, as "all" does.'
            )
    return patterns
