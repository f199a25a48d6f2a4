"""Several patterns in one text: those that a sweep tries, or that share one adapter."""

from collections.abc import Iterator
from itertools import product

from decausal._pattern import LayerPattern

_MOST_GROUPS = 8
_KINDS = (
    'a pattern, "groups:4" (all 16 of four groups), "suffixes:4" (five of them), "single", "prefixes" or "suffixes"'
)


def parse_patterns(text: str, num_layers: int) -> tuple[str, ...]:
    """The patterns that a text names, those of the same layers once.

    | text           | means                                                          |
    |----------------|----------------------------------------------------------------|
    | `"groups:4"`   | all 16 patterns of four groups, `0000` to `1111`               |
    | `"suffixes:4"` | those that are open from a group on: `0000`, `0001`, `0011`, `0111`, `1111` |
    | `"prefixes:4"` | those that are open up to a group: `0000`, `1000`, `1100`, `1110`, `1111`   |
    | `"single"`     | every layer alone                                              |
    | `"prefixes"`   | the first layer, the first two, and so on to all               |
    | `"suffixes"`   | all layers, those from layer 1 on, and so on to the last alone |

    Args:
        text: patterns or names of this table, with blanks between them.
        num_layers: the model's number of decoder layers.

    Raises:
        ValueError: there is none, or one does not fit the model.
    """
    found: dict[tuple[int, ...], str] = {}
    for word in text.split():
        for pattern in _expand(word, num_layers):
            found.setdefault(LayerPattern.parse(pattern).layers(num_layers), pattern)
    if not found:
        raise ValueError(f"patterns={text!r}: give one or more, with blanks between them: {_KINDS}.")
    return tuple(found.values())


def _expand(word: str, num_layers: int) -> Iterator[str]:
    kind, colon, number = word.partition(":")
    if kind == "groups" or (colon and kind in ("prefixes", "suffixes")):
        yield from _of_groups(kind, number, num_layers)
    elif word == "single":
        yield from (f"{layer}-{layer}" for layer in range(num_layers))
    elif word == "prefixes":
        yield from (f"0-{layer}" for layer in range(num_layers))
    elif word == "suffixes":
        yield from (f"{layer}-{num_layers - 1}" for layer in range(num_layers))
    elif word.isalpha() and word not in ("all", "none"):
        raise ValueError(f"patterns={word!r}: unknown; give {_KINDS}.")
    else:
        yield str(LayerPattern.parse(word))


def _of_groups(kind: str, number: str, num_layers: int) -> Iterator[str]:
    most = min(_MOST_GROUPS, num_layers) if kind == "groups" else num_layers
    if not number.isdecimal() or not 1 <= int(number) <= most:
        raise ValueError(
            f'patterns="{kind}:{number}": give a number of groups from 1 to {most}, as in "{kind}:4"; the model has '
            f"{num_layers} decoder layers{', and m groups are 2 to the m patterns' if kind == 'groups' else ''}."
        )
    size = int(number)
    if kind == "groups":
        yield from ("".join(bits) for bits in product("01", repeat=size))
    elif kind == "suffixes":
        yield from ("0" * (size - opened) + "1" * opened for opened in range(size + 1))
    else:
        yield from ("1" * opened + "0" * (size - opened) for opened in range(size + 1))
