"""Which layers are unmasked: the written pattern, and the layers it names in a model of a given depth."""

import re
from dataclasses import dataclass
from typing import Final

_BITS: Final = re.compile(r"[01]+")
# No zeros in front: "0012" is a slip in "0011", not layer 12.
_LAYERS: Final = re.compile(r"(?P<first>-?(?:0|[1-9]\d*))(?:-(?P<last>-?(?:0|[1-9]\d*)))?")
_FORMS: Final = 'group bits such as "0011", layers such as "16-31" or "0,3,-1", "all" or "none"'


@dataclass(frozen=True)
class LayerPattern:
    """A choice of decoder layers, independent of any model's depth until `layers` is asked.

    Four ways to write one, leftmost always the input (embedding) side:

    | text       | means                                                                        |
    |------------|------------------------------------------------------------------------------|
    | `"0011"`   | as many equal groups of layers as bits; 1 = unmasked, leftmost = input side   |
    | `"16-31"`  | zero-based layer numbers and inclusive ranges, comma-separated; -1 = the last |
    | `"all"`    | every layer                                                                  |
    | `"none"`   | no layer: the untouched causal model                                         |

    A text of only 0s and 1s is always bits, so that one layer 10 is `"10-10"`. Groups of a depth that does not divide
    differ in size by at most one, larger groups first. The bits of 4 groups of 8 layers are the configurations of
    Dukić & Šnajder (ACL Findings 2024, arXiv 2401.14556), numbered there `int(bits, 2)`.
    """

    text: str

    @classmethod
    def parse(cls, pattern: "str | LayerPattern") -> "LayerPattern":
        """The pattern that a text writes.

        Raises:
            TypeError: the pattern is no text. YAML reads an unquoted `0011` as the number 9 (octal) or 11.
            ValueError: the text has none of the four forms.
        """
        if isinstance(pattern, LayerPattern):
            return pattern
        if not isinstance(pattern, str):
            raise TypeError(
                f"unmask={pattern!r} is of type {type(pattern).__name__}, and a pattern is text: write it in quotes, "
                f'as in unmask: "0011" (YAML reads an unquoted 0011 as the number 9 or 11).'
            )
        text = re.sub(r"\s+", "", pattern)
        if text not in ("all", "none") and not _BITS.fullmatch(text):
            for part in text.split(","):
                if not _LAYERS.fullmatch(part):
                    raise ValueError(f"unmask={pattern!r}: {part!r} is no layer; a pattern is {_FORMS}.")
        return cls(text)

    @property
    def is_bits(self) -> bool:
        """Whether the pattern is written as group bits."""
        return _BITS.fullmatch(self.text) is not None

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """The chosen layers of a model.

        Args:
            num_layers: the model's number of decoder layers.

        Returns:
            Zero-based layer numbers counted from the embedding side, ascending, each once.

        Raises:
            ValueError: there are more bits than layers, or a layer number lies outside the model.
        """
        if self.text == "all":
            return tuple(range(num_layers))
        if self.text == "none":
            return ()
        if self.is_bits:
            return self._layers_of_bits(num_layers)
        chosen: set[int] = set()
        for part in self.text.split(","):
            chosen.update(self._layers_of_range(part, num_layers))
        return tuple(sorted(chosen))

    def _layers_of_bits(self, num_layers: int) -> tuple[int, ...]:
        if len(self.text) > num_layers:
            raise ValueError(
                f'unmask="{self.text}" has {len(self.text)} groups, and every group needs a layer, but the model has '
                f"{num_layers} decoder layers: write at most {num_layers} bits."
            )
        size, larger = divmod(num_layers, len(self.text))
        chosen: list[int] = []
        start = 0
        for group, bit in enumerate(self.text):
            stop = start + size + (group < larger)
            if bit == "1":
                chosen.extend(range(start, stop))
            start = stop
        return tuple(chosen)

    def _layers_of_range(self, part: str, num_layers: int) -> range:
        match = _LAYERS.fullmatch(part)
        assert match is not None
        first = int(match["first"])
        last = first if match["last"] is None else int(match["last"])
        for layer in (first, last):
            if not -num_layers <= layer < num_layers:
                raise ValueError(
                    f'unmask="{self.text}" names layer {layer}, but the model has {num_layers} decoder layers: '
                    f"they are 0 to {num_layers - 1}, or -{num_layers} to -1 from the end."
                )
        first, last = first % num_layers, last % num_layers
        if first > last:
            raise ValueError(
                f'unmask="{self.text}": the range {part} runs from layer {first} down to layer {last}; write the layer '
                f"nearer the embeddings first."
            )
        return range(first, last + 1)

    def __str__(self) -> str:
        return self.text


def format_layers(layers: tuple[int, ...]) -> str:
    """Layer numbers as a person writes them: `(0, 1, 2, 7)` is `"0-2,7"`, `()` is `"none"`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none"
