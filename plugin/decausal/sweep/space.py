"""What a sweep tries: patterns, seeds, and further fields of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from optuna import Trial

from decausal._pattern import LayerPattern
from decausal.sweep.outcome import Setting

_TAKEN = {
    "unmask": "--patterns",
    "shared_patterns": "decausal search",
    "seed": "--seeds",
    "output_dir": "--output_dir, one for all runs",
    "resume_from_checkpoint": "nothing: a sweep resumes by itself",
    "overwrite_output_dir": "nothing: a sweep keeps its runs apart",
    **dict.fromkeys(
        ("train_file", "validation_file", "test_file", "dataset_name"), "the recipe: other data are another sweep"
    ),
}


@dataclass(frozen=True)
class Space:
    """Every combination of a pattern, a value of each axis, and a seed.

    Attributes:
        patterns: as recipes write them.
        seeds: one run each.
        axes: further fields of the recipe with the values that they take, as a command line writes them.
        draws: whether a sampler chooses among the settings.
    """

    patterns: tuple[str, ...]
    seeds: tuple[int, ...]
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    draws: bool = False

    def settings(self) -> list[Setting]:
        """All combinations; seeds outermost, so that every pattern is tried once before any is tried twice."""
        return [
            {"unmask": pattern, "seed": seed, **dict(zip(self.axes, values, strict=True))}
            for seed in self.seeds
            for values in product(*self.axes.values())
            for pattern in self.patterns
        ]

    @property
    def num_groups(self) -> int | None:
        """How many groups of layers are parameters; None where the pattern is one.

        They are where all patterns are bits of one length, unless a sampler could draw bits that are none of them.
        """
        lengths = {len(text) if LayerPattern(text).is_bits else None for text in self.patterns}
        number = lengths.pop() if len(lengths) == 1 else None
        return None if number is None or (self.draws and len(self.patterns) < 2**number) else number

    def suggest(self, trial: Trial, seed: int) -> Setting:
        """The setting that a sampler draws for a seed, or that a trial was queued with.

        A group is a parameter of its own, so that a sampler, and whoever looks at the study, learns what each is worth.
        """
        if self.num_groups:
            unmask = "".join(trial.suggest_categorical(f"group_{i}", ["0", "1"]) for i in range(self.num_groups))
        else:
            unmask = str(trial.suggest_categorical("unmask", self.patterns))
        axes = {name: trial.suggest_categorical(name, values) for name, values in self.axes.items()}
        return {"unmask": unmask, "seed": seed, **axes}

    def parameters(self, setting: Setting) -> dict[str, str]:
        """A setting as `suggest` asks for it."""
        layers = {f"group_{i}": bit for i, bit in enumerate(setting["unmask"])}
        return (layers if self.num_groups else {"unmask": setting["unmask"]}) | {
            name: setting[name] for name in self.axes
        }


def name_setting(setting: Setting) -> str:
    """A setting in one line, and as the name of a directory: `unmask=0011,seed=120`."""
    return ",".join(f"{name}={str(value).replace('/', '_')}" for name, value in setting.items())


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text lists, with commas between them, each once.

    Raises:
        ValueError: one is no number from 0 to 2^32 - 1.
    """
    seeds = [part.strip() for part in text.split(",")]
    for seed in seeds:
        if not seed.isdecimal() or int(seed) >= 2**32:
            raise ValueError(f"seeds={text!r}: {seed!r} is no seed; give whole numbers with commas, as in 120,121,122.")
    return tuple(dict.fromkeys(map(int, seeds)))


def parse_axes(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Further axes, each written `field=value,value`.

    Raises:
        ValueError: one is written otherwise, twice there, or a field that a sweep sets itself.
    """
    axes: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().removeprefix("--")
        found = tuple(dict.fromkeys(part.strip() for part in values.split(",") if part.strip()))
        if not name or not found:
            raise ValueError(
                f"axis={text!r}: write a field of the recipe and its values, as in learning_rate=1e-4,5e-4."
            )
        if name in _TAKEN:
            raise ValueError(f"axis={text!r}: {name} is set by {_TAKEN[name]}.")
        if name in axes:
            raise ValueError(f"axis={text!r}: {name} has values already: {', '.join(axes[name])}; write them together.")
        axes[name] = found
    return dict(sorted(axes.items()))
