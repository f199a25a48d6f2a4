"""The tables of the paper, from the runs that are finished."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy import stats

from decausal._pattern import LayerPattern, format_layers
from decausal.sweep.analysis import Analysis, analyse
from decausal.sweep.grouping import SPLITS, Group, group
from decausal.sweep.storage import STUDY_FILE, locate_study, open_study
from decausal.sweep.tables import as_latex, tabulate_nested
from decausal.sweep.trials import outcomes_of
from decausal.tagging.data import read_sentences
from decausal.tagging.dependencies import count_arcs, parse_heads
from decausal.tagging.results import RESULTS, environment
from paper.runs import READING, Reproduction

if TYPE_CHECKING:
    from spacy.language import Language

Row = dict[str, Any]
_FEWEST_RANKED = 3


def print_tables(reproduction: Reproduction, parser: "Language | None", console: Console) -> None:
    """Print every table that has rows, and write it as CSV and LaTeX into `tables` of the output directory.

    What they are made of, but for the counts of single sentences, is there as `raw.json`.

    Args:
        reproduction: whose runs.
        parser: a spaCy pipeline, for the right-dependency ratios; None for none.
        console: where to.

    Raises:
        ValueError: there is no such output directory.
    """
    if not reproduction.output.is_dir():
        raise ValueError(f"{reproduction.output} is not there: give the --output_dir of a reproduction.")
    directory = reproduction.output / "tables"
    directory.mkdir(exist_ok=True)
    found = [*analyses(reproduction)]
    gains = tabulate_gains(found)
    tables = {
        "runs": [*tabulate_taggers(found), *tabulate_instructed(reproduction)],
        "patterns": tabulate_patterns(found),
        "gains": gains,
        "nested": tabulate_nested_pairs(found),
        "checkpoints": tabulate_checkpoints(found),
        "dependencies": tabulate_dependencies(gains, ratios(reproduction, parser) if parser else {}),
    }
    write_raw(found, reproduction, directory / "raw.json")
    for name, rows in tables.items():
        if rows:
            table = pd.DataFrame(rows)
            table.to_csv(directory / f"{name}.csv", index=False)
            (directory / f"{name}.tex").write_text(as_latex(table), encoding="utf-8")
            shown = Table(*map(str, table.columns), title=name, title_justify="left", box=None)
            for row in rows:
                shown.add_row(*(_show(row.get(column)) for column in table.columns))
            console.print(shown, soft_wrap=True)
            console.print()


def write_raw(found: list[tuple[str, str, Analysis]], reproduction: Reproduction, path: Path) -> None:
    """Write every finished run with its setting, scores and seconds, and the machine that writes."""
    taggers = []
    for name, task, analysis in found:
        for outcome in analysis.group.outcomes:
            run = outcome.to_dict()
            del run["counts"]  # of every sentence: megabytes
            taggers.append({"run": name, "task": task, **run})
    instructed = [
        {"run": name, "task": task, "seed": seed, "scores": scores}
        for name, task, seed, scores in instructed_scores(reproduction)
    ]
    facts = {**environment(), "taggers": taggers, "instructed": instructed}
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def instructed_scores(reproduction: Reproduction) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Name, task, seed and scores by split of every finished run of instructions."""
    for name in reproduction.scale.instructed:
        for task in reproduction.scale.tasks_of(name, reproduction.tasks):
            for path in sorted(reproduction.directory(name, task).glob(f"seed=*/{RESULTS}")):
                seed = int(path.parent.name.removeprefix("seed="))
                yield name, task, seed, json.loads(path.read_text(encoding="utf-8"))["scores"]


def analyses(reproduction: Reproduction) -> Iterator[tuple[str, str, Analysis]]:
    """Name, task and analysis of every sweep, one for each value of its further axes; without those not begun."""
    for name, task in reproduction.sweeps():
        directory = reproduction.directory(name, task)
        if (directory / STUDY_FILE).is_file():
            study = open_study(*locate_study(directory), create=False)
            for runs in group(outcomes_of(study)):
                yield name, task, analyse(runs)


def tabulate_taggers(found: list[tuple[str, str, Analysis]]) -> list[Row]:
    """For each tagger, task, pattern and further axis mean and standard deviation of F1 (0-100) over seeds."""
    return [
        {
            "run": name,
            "task": task,
            "pattern": pattern,
            "layers": format_layers(runs.layers(pattern)),
            **_models(runs),
            "seeds": len(runs.runs[pattern]),
            **{
                key: value for split in runs.splits for key, value in _summarise(split, runs.f1(pattern, split)).items()
            },
        }
        for name, task, runs in ((name, task, analysis.group) for name, task, analysis in found)
        for pattern in runs.patterns
    ]


def tabulate_instructed(reproduction: Reproduction) -> list[Row]:
    """The same for models that answer in text, and how many parts of their answers on test data mean nothing."""
    scores: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, task, _, found in instructed_scores(reproduction):
        scores.setdefault((name, task), []).append(found)
    return [
        {
            "run": name,
            "task": task,
            "seeds": len(runs),
            **{
                key: value
                for split in SPLITS
                for key, value in _summarise(split, [run[split]["f1"] for run in runs]).items()
            },
            "failures": fmean(run["test"]["failures"] for run in runs),
        }
        for (name, task), runs in scores.items()
    ]


def tabulate_patterns(found: list[tuple[str, str, Analysis]]) -> list[Row]:
    """Test F1 of each pattern of bits, mean and standard deviation over seeds, a column for each tagger and task."""
    columns: dict[str, dict[str, str]] = {}
    for name, task, analysis in found:
        runs = analysis.group
        bits = [pattern for pattern in runs.patterns if LayerPattern.parse(pattern).is_bits]
        if len(bits) > 1 and not runs.axes:
            columns[f"{name}: {task}"] = {pattern: _spread(runs.f1(pattern, runs.split)) for pattern in bits}
    patterns = sorted(
        {pattern for column in columns.values() for pattern in column}, key=lambda bits: (len(bits), bits)
    )
    return [{"pattern": each} | {name: column.get(each) for name, column in columns.items()} for each in patterns]


def tabulate_gains(found: list[tuple[str, str, Analysis]]) -> list[Row]:
    """For each tagger and task what the open pattern chosen on validation data gains over the causal one, on test data.

    Over the seeds that all patterns have.
    """
    rows = []
    for name, task, analysis in found:
        runs, causal = analysis.group, analysis.group.causal
        opened = [each for each in runs.patterns if each != causal]
        if causal is None or not opened:
            continue
        seeds = runs.common_seeds(runs.patterns)
        if not seeds:
            continue
        best = max(opened, key=lambda each: runs.mean_f1(each, "validation", seeds))
        compared = analysis.compare(best, causal)
        is_sure = compared is not None and list(compared.seeds) == seeds
        everything = [each for each in opened if len(runs.layers(each)) == runs.num_layers(each)]
        rows.append(
            {
                "run": name,
                "task": task,
                **_models(runs),
                "seeds": len(seeds),
                "causal": runs.mean_f1(causal, runs.split, seeds),
                "chosen": best,
                "chosen_f1": runs.mean_f1(best, runs.split, seeds),
                "gain": runs.mean_f1(best, runs.split, seeds) - runs.mean_f1(causal, runs.split, seeds),
                "p_sentences_holm": compared.holm_sentences if compared and is_sure else None,
                "p_seeds_holm": compared.holm_seeds if compared and is_sure else None,
                "all_open": runs.mean_f1(everything[0], runs.split, seeds) if everything else None,
            }
        )
    return rows


def tabulate_nested_pairs(found: list[tuple[str, str, Analysis]]) -> list[Row]:
    """The paper's one-sided paired t-test over nested pairs of patterns."""
    return [
        {"run": name, "task": task, **_models(analysis.group), **row}
        for name, task, analysis in found
        for row in tabulate_nested(analysis)
    ]


def tabulate_checkpoints(found: list[tuple[str, str, Analysis]]) -> list[Row]:
    """Test F1 after each checkpoint of pretraining, mean over seeds, a column for each tagger, pattern and task."""
    steps: dict[int, dict[str, float]] = {}
    for name, task, analysis in found:
        runs = analysis.group
        step = Path(str(runs.axes.get("model_name_or_path", ""))).name.rpartition("-")[2]
        if step.isdecimal():
            for pattern in runs.patterns:
                column = f"{name} {pattern}: {task}" if len(runs.patterns) > 1 else f"{name}: {task}"
                steps.setdefault(int(step), {})[column] = runs.mean_f1(pattern, runs.split)
    return [{"step": step} | columns for step, columns in sorted(steps.items())]


def tabulate_dependencies(gains: list[Row], found: dict[str, float]) -> list[Row]:
    """For each task its right-dependency ratio and every tagger's gain; below, how the two go together."""
    if not found:
        return []
    taggers = list(dict.fromkeys(row["run"] for row in gains if "model" not in row))
    by_task = {(row["run"], row["task"]): row["gain"] for row in gains if "model" not in row}
    rows: list[Row] = [
        {"task": task, "ratio": ratio, **{name: by_task.get((name, task)) for name in taggers}}
        for task, ratio in sorted(found.items(), key=lambda each: -each[1])
    ]
    ranked = {}
    for name in taggers:
        both = [(ratio, by_task[name, task]) for task, ratio in found.items() if (name, task) in by_task]
        if len(both) >= _FEWEST_RANKED:
            ranked[name] = float(stats.spearmanr(*zip(*both, strict=True)).statistic)
    return [*rows, {"task": "Spearman", "ratio": None, **ranked}] if ranked else rows


def ratios(reproduction: Reproduction, parser: "Language") -> dict[str, float]:
    """Of each task the right-dependency ratio (0-1) of its training data, if any tagged word has an arc."""
    found = {}
    for task in reproduction.tasks:
        data = reproduction.data_of(task)
        sentences, _ = read_sentences(data["train_file"], **{each: data[each] for each in READING if each in data})
        ratio = count_arcs(sentences["tags"], parse_heads(sentences["tokens"], parser)).total.ratio
        if ratio is not None:
            found[task] = ratio
    return found


def _models(runs: Group) -> Row:
    path = runs.axes.get("model_name_or_path")
    return {"model": Path(str(path)).name} if path else {}


def _summarise(split: str, scores: list[float]) -> Row:
    return {split: fmean(scores), f"{split}_sd": stdev(scores) if len(scores) > 1 else None}


def _spread(scores: list[float]) -> str:
    return f"{fmean(scores):.2f}" + (f" ± {stdev(scores):.2f}" if len(scores) > 1 else "")


def _show(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2g}" if 0 < abs(value) < 0.1 else f"{value:.2f}"  # p-values are small
