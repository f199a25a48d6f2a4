"""SUPPORT.md: what unmasking does on every model type, as a table of verdicts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from verdicts import Verdict, judge
from zoo import MODEL_TYPES, NOT_BUILT, NUM_LAYERS, build, layer_kinds

PATH = Path(__file__).parent.parent / "SUPPORT.md"
VERSIONS = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"

_TEXT = """\
# Supported models

Written by `python tests/test_support.py --write`; the test suite fails where this file is out of date.

{total} model types of {versions}:

| result | model types |
|---|---|
| exact: every layer can be unmasked | {exact} |
| exact on attention layers: the layers without attention over all tokens are refused | {partly} |
| refused: `UnsupportedModelError` | {refused} |
| not built: cannot be tried here | {not_built} |

Every model type that transformers maps to `AutoModelForCausalLM` is built small, with random weights and {num_layers}
decoder layers. Each layer that `decausal.unmask` accepts is held against what it must see, by changing one token of
its input after another: without padding, with left and right padding, in packed rows, and with a narrow window where
the type has windows. *Exact* means that an unmasked layer sees everything on both sides but padding, that no other
layer changed, and that the model is bit for bit the same once the handle is removed. What is neither exact nor
refused fails the test.

- layers: the kinds of layers, in transformers' words, *full* where it has none.
- sdpa, *none*: transformers has no such attention for the type.
- packed rows (restarting `position_ids`), *apart*: a token of an unmasked layer sees its own document only. *apart in
  unmasked layers*: transformers itself does not separate documents for this type, the unmasked layers do. *earlier
  documents visible*: a state or convolution beside the attention carries them along, as in the untouched model.
  *takes no positions*: the type has no `position_ids`.
- windows, *yes*: layers can be limited to near tokens; unmasked, they reach as far to the right as to the left.
- refused because: layer numbers are those of the small model.

| model type | class | layers | eager | sdpa | packed rows | windows | refused because |
|---|---|---|---|---|---|---|---|
{rows}
"""


def row(model_type: str) -> str:
    """One model type's line of the table, after judging it under eager and sdpa.

    Raises:
        AssertionError: the type is neither exact nor refused.
    """
    if model_type in NOT_BUILT:
        return _line([model_type, "", "", "not built", "not built", "", "", NOT_BUILT[model_type]])
    model = build(model_type)
    kinds = layer_kinds(model)
    eager, sdpa = judge(model_type, "eager"), _judge_sdpa(model_type)
    assert sdpa is None or sdpa.exact == eager.exact, f"{model_type}: eager and sdpa accept different layers"
    return _line(
        [
            model_type,
            type(model).__name__,
            ", ".join(dict.fromkeys(kinds)) if eager.exact else "",
            _cell(eager, kinds),
            "none" if sdpa is None else _cell(sdpa, kinds),
            " / ".join(dict.fromkeys([eager.packing, sdpa.packing if sdpa else eager.packing])),
            "yes" if eager.has_windows else "",
            eager.reason,
        ]
    )


@dataclass(frozen=True)
class Table:
    """The file: its text, and the table's lines by model type."""

    text: str

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Table":
        """The file with these lines."""
        table = cls("\n".join(lines))
        return cls(table.render())

    @classmethod
    def read(cls) -> "Table":
        """The file as it is; nothing where it is missing."""
        return cls(PATH.read_text() if PATH.exists() else "")

    @property
    def rows(self) -> dict[str, str]:
        """The lines, by model type."""
        lines = [line for line in self.text.splitlines() if line.startswith("| ")]
        names = [line.split(" | ")[0].removeprefix("| ") for line in lines]
        return {name: line for name, line in zip(names, lines, strict=True) if name in MODEL_TYPES}

    @property
    def counts(self) -> Counter[str]:
        """How many model types have each result."""
        return Counter(self.result(model_type) for model_type in self.rows)

    def result(self, model_type: str) -> str:
        """`"exact"`, `"exact on"` some layers, `"refused"` or `"not built"`."""
        eager = self.rows[model_type].split(" | ")[3]
        return "exact on" if eager.startswith("exact on") else eager

    @property
    def is_current(self) -> bool:
        """Whether the file was written under the versions that are installed."""
        return VERSIONS in self.text

    def agrees(self, model_type: str, line: str) -> bool:
        """Whether the file has this line for the type, or was written under other versions."""
        return self.rows.get(model_type) == line or not self.is_current

    def render(self) -> str:
        """The text that belongs to the lines, under the versions that are installed."""
        counts = self.counts
        return _TEXT.format(
            versions=VERSIONS,
            total=len(self.rows),
            exact=counts["exact"],
            partly=counts["exact on"],
            refused=counts["refused"],
            not_built=counts["not built"],
            num_layers=NUM_LAYERS,
            rows="\n".join(self.rows.values()),
        )


def _judge_sdpa(model_type: str) -> Verdict | None:
    try:
        return judge(model_type, "sdpa")
    except ValueError as error:
        if "does not support an attention implementation" not in str(error):
            raise
        return None


def _cell(verdict: Verdict, kinds: Sequence[str]) -> str:
    if len(verdict.exact) == NUM_LAYERS:
        return "exact"
    if not verdict.exact:
        return "refused"
    exact_kinds = dict.fromkeys(kinds[layer] for layer in verdict.exact)
    if any(kinds[layer] in exact_kinds for layer in range(NUM_LAYERS) if layer not in verdict.exact):
        return f"exact on layers {', '.join(map(str, verdict.exact))}"
    return f"exact on {', '.join(exact_kinds)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
