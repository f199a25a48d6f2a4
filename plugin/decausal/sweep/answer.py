"""The findings of a sweep in plain sentences, each computed from the runs."""

from math import isnan

from decausal._pattern import format_layers
from decausal.sweep.analysis import Analysis, Comparison
from decausal.sweep.grouping import Group
from decausal.sweep.significance import ALPHA, confidence_interval


def name_choice(group: Group) -> str:
    """What to do, in a few words."""
    if group.chosen == group.causal:
        return f"Leave every layer causal ({group.chosen})"
    layers = describe_layers(group, group.chosen)
    if group.chosen == format_layers(group.layers(group.chosen)):
        return f"Unmask {layers}"
    return f"Unmask {group.chosen}: {layers}"


def describe_layers(group: Group, pattern: str) -> str:
    """The layers that a pattern opens, as in `layers 8-29 of 30`."""
    layers, num_layers = group.layers(pattern), group.num_layers(pattern)
    if not layers:
        return f"none of {num_layers} layers"
    return f"layer{'s' * (len(layers) > 1)} {format_layers(layers)} of {num_layers}"


def tell(analysis: Analysis) -> list[str]:
    """What the chosen pattern scores, what it gains over the causal one, and which others do as well."""
    return [_tell_score(analysis.group), _tell_gain(analysis), *_tell_rivals(analysis)]


def _tell_score(group: Group) -> str:
    pattern, num_patterns = group.chosen, len(group.patterns)
    only = f"the best of {num_patterns} patterns" if num_patterns > 1 else "the only pattern that was tried"
    first = f"On validation data it is {only}, with a mean F1 of {group.mean_f1(pattern, 'validation'):.2f}"
    if group.split == "validation":
        return f"{first} ({_describe_spread(group)}). There are no test data to check it on."
    return f"{first}; on test data it scores {group.mean_f1(pattern, 'test'):.2f} ({_describe_spread(group)})."


def _describe_spread(group: Group) -> str:
    scores = group.f1(group.chosen, group.split)
    interval = confidence_interval(scores)
    if interval is None:
        return "one seed, so no confidence interval"
    return f"95 % confidence interval {interval[0]:.2f} to {interval[1]:.2f} over {len(scores)} seeds"


def _tell_gain(analysis: Analysis) -> str:
    group = analysis.group
    if group.causal is None:
        return "No causal run is among them, so what unmasking gains is not known."
    if group.causal == group.chosen:
        return "No unmasked pattern did better."
    found = analysis.compare(group.chosen, group.causal)
    if found is None:
        return f"It has no seed in common with the causal pattern {group.causal}, so the two are not compared."
    num_comparisons = len(analysis.comparisons)
    corrected = f", Holm-corrected over {num_comparisons} comparisons" if num_comparisons > 1 else ""
    return (
        f"That is {abs(found.gain):.2f} {'above' if found.gain >= 0 else 'below'} the causal pattern {group.causal}, "
        f"which is {_verdict(found)}{corrected}."
    )


def _verdict(found: Comparison) -> str:
    over_sentences = f"over sentences ({say_p(found.holm_sentences)})"
    if found.holm_seeds is None:
        seeds = "one seed" if len(found.seeds) == 1 else "seeds that all differ by the same"
        return f"{_significant(found.holm_sentences)} {over_sentences}; {seeds} cannot tell it over seeds"
    over_seeds = f"over seeds ({say_p(found.holm_seeds)})"
    if (found.holm_sentences < ALPHA) == (found.holm_seeds < ALPHA):
        return f"{_significant(found.holm_sentences)} {over_sentences} and {over_seeds}"
    return f"{_significant(found.holm_sentences)} {over_sentences} but {_significant(found.holm_seeds)} {over_seeds}"


def _significant(p: float) -> str:
    return "significant" if p < ALPHA else "not significant"


def say_p(p: float | None) -> str:
    """A p-value as papers print it: `p = 0.012`, `p < 0.001`."""
    if p is None or isnan(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def say_duration(seconds: float) -> str:
    """A time in the largest unit of which there are two at least: `85 s`, `7.9 min`, `12.3 h`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _tell_rivals(analysis: Analysis) -> list[str]:
    group = analysis.group
    found = [analysis.compare(pattern, group.chosen) for pattern in group.patterns]
    rivals = [each.pattern for each in found if each is not None and each.holm_sentences >= ALPHA]
    if not rivals:
        return []
    others = f"{len(rivals)} other pattern{'s' * (len(rivals) > 1)}"
    names = f" ({', '.join(rivals)})" if len(rivals) <= 8 else ""
    return [f"On these sentences {others}{names} cannot be told from it."]


def warn(group: Group) -> list[str]:
    """What a reader has to know before trusting the numbers."""
    warnings = []
    missing = [f"{pattern} of seed {', '.join(map(str, seeds))}" for pattern, seeds in group.missing().items()]
    if missing:
        warnings.append(
            f"Runs are missing ({'; '.join(missing)}). Two patterns are compared over the seeds that both have, but "
            f"means are over those that a pattern has."
        )
    if len(group.seeds) == 1:
        warnings.append("There is one seed: no confidence intervals, and no test over seeds.")
    num_tested = sum("test" in run.scores for run in group.outcomes)
    if group.split == "validation":
        if num_tested:
            warnings.append(f"Only {num_tested} of {len(group.outcomes)} runs have test scores, so none are shown.")
        warnings.append(
            "Patterns are tested on the validation data on which the best was chosen: its lead looks larger and surer "
            "than it is."
        )
    empty = [p for p in group.patterns if not any(group.f1(p, group.split))]
    if empty:
        warnings.append(f"Every F1 on {group.split} data is 0 for {', '.join(empty)}.")
    return warnings
