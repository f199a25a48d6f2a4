"""One group of runs as the page shows it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from markupsafe import Markup

from decausal._pattern import LayerPattern, format_layers
from decausal.sweep import pictures
from decausal.sweep.analysis import Analysis, Comparison
from decausal.sweep.answer import name_choice, tell, warn
from decausal.sweep.grouping import Group
from decausal.sweep.significance import num_resamples
from decausal.sweep.tables import Row, tabulate_cost, tabulate_f1, tabulate_nested, tabulate_runs, tabulate_types

SHOWN_TYPES: Final = 40
_MOST_BITS: Final = 6  # 64 cells: more are not read at a glance


class Strip(NamedTuple):
    """A model's layers in a row, the input side on the left.

    Attributes:
        num_layers: how many there are.
        layers: the opened ones, zero-based from the embedding side.
        label: these in words.
    """

    num_layers: int
    layers: tuple[int, ...]
    label: str


def strip(pattern: str, group: Group) -> Strip:
    """The layers that a pattern opens, ready to be drawn."""
    layers = group.layers(pattern)
    return Strip(group.num_layers(pattern), layers, format_layers(layers))


@dataclass(frozen=True)
class Part:
    """What the page shows of one group.

    Attributes:
        key: tells its pictures from those of other groups.
        analysis: of the group.
    """

    key: str
    analysis: Analysis

    @property
    def group(self) -> Group:
        """The runs."""
        return self.analysis.group

    @property
    def title(self) -> str:
        """The values of the further axes; empty where there are none."""
        return ", ".join(f"{name} {value}" for name, value in self.group.axes.items())

    @property
    def headline(self) -> str:
        """What to do."""
        return name_choice(self.group) + (f", with {self.title}" if self.title else "")

    @property
    def sentences(self) -> list[str]:
        """Why."""
        return tell(self.analysis)

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting it."""
        return warn(self.group)

    @property
    def gain(self) -> Comparison | None:
        """The chosen pattern against the causal one."""
        return self.analysis.compare(self.group.chosen, self.group.causal)

    @cached_property
    def scores(self) -> list[Row]:
        """The table of F1; with it, as shares of the range of all, 0-1: `heat`, `place` and `interval`."""
        rows, split = tabulate_f1(self.analysis), self.group.split
        means = [row[f"{split}_f1"] for row in rows]
        ends = [row[f"{split}_ci_{end}"] for row in rows for end in ("low", "high")]
        shown = means + [end for end in ends if end is not None]
        for row in rows:
            row["heat"] = _share(row[f"{split}_f1"], means)
            row["place"] = _share(row[f"{split}_f1"], shown)
            row["interval"] = [_share(row[f"{split}_ci_{end}"], shown) for end in ("low", "high")]
        return rows

    @property
    def has_spread(self) -> bool:
        """Whether any pattern has more than one seed."""
        return any(row["seeds"] > 1 for row in self.scores)

    @property
    def chosen(self) -> Row:
        """The row of the chosen pattern in the table of F1."""
        return next(row for row in self.scores if row["pattern"] == self.group.chosen)

    @property
    def grid(self) -> list[list[tuple[str, Row | None]]]:
        """The table of F1 as a map: rows by the bits of the input half, columns by those of the output half.

        A pattern that was not tried has no row. Empty where patterns are not bits, are too many for a map, or less than
        half of those that it has place for.
        """
        num_bits = len(self.group.patterns[0])
        are_bits = all(
            LayerPattern.parse(pattern).is_bits and len(pattern) == num_bits for pattern in self.group.patterns
        )
        if not are_bits or num_bits > _MOST_BITS or 2 * len(self.group.patterns) < 2**num_bits:
            return []
        by_pattern = {row["pattern"]: row for row in self.scores}
        every = [f"{number:0{num_bits}b}" for number in range(2**num_bits)]
        width = 2 ** ((num_bits + 1) // 2)
        return [
            [(pattern, by_pattern.get(pattern)) for pattern in every[start : start + width]]
            for start in range(0, len(every), width)
        ]

    @property
    def runs(self) -> list[Row]:
        """The table of runs."""
        return tabulate_runs(self.analysis)

    @property
    def comparisons(self) -> list[tuple[str, Comparison | None, Comparison | None]]:
        """Each pattern with its comparison to the causal and to the chosen one."""
        causal, chosen = self.group.causal, self.group.chosen
        compare = self.analysis.compare
        return [(pattern, compare(pattern, causal), compare(pattern, chosen)) for pattern in self.group.patterns]

    @property
    def num_resamples(self) -> int:
        """How often sentences were swapped."""
        return num_resamples(len(self.analysis.comparisons))

    @property
    def num_sentences(self) -> int:
        """Sentences of the split that is reported."""
        return len(self.group.outcomes[0].counts[self.group.split])

    @property
    def nested(self) -> list[Row]:
        """The table of the paper's test."""
        return tabulate_nested(self.analysis)

    @cached_property
    def types(self) -> list[Row]:
        """The table of types; with it of each the best pattern and what the chosen gains over the causal one."""
        group, rows = self.group, []
        for row in tabulate_types(self.analysis):
            scores = {pattern: row[pattern] for pattern in group.patterns}
            found = {pattern: score for pattern, score in scores.items() if score is not None}
            best = max(found, key=found.__getitem__)
            is_compared = group.causal in found and group.chosen in found
            rows.append(
                {
                    "type": row["type"],
                    "entities": row["entities"],
                    "scores": scores,
                    "gain": found[group.chosen] - found[group.causal or ""] if is_compared else None,
                    "best": best,
                    "best_f1": found[best],
                }
            )
        return rows

    @property
    def cost(self) -> list[Row]:
        """The table of cost."""
        return tabulate_cost(self.analysis)

    @property
    def scatter(self) -> Markup | None:
        """Test over validation, drawn."""
        picture = pictures.draw_scatter(self.analysis, f"{self.key}-scatter")
        return None if picture is None else Markup(picture)

    @property
    def curves(self) -> Markup | None:
        """Learning curves, drawn."""
        picture = pictures.draw_curves(self.analysis, f"{self.key}-curves")
        return None if picture is None else Markup(picture)


def _share(value: float | None, of: list[float]) -> float | None:
    if value is None:
        return None
    return (value - min(of)) / ((max(of) - min(of)) or 1.0)
