"""The runs of a scale, one kind after the other; what is finished is not run again, what was stopped goes on."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

import make_text
import tagging_as_text
from decausal.sweep.run import holding
from decausal.sweep.space import parse_seeds
from decausal.sweep.sweep import run_sweep
from decausal.tagging.arguments import as_flags
from decausal.tagging.results import RESULTS
from paper.scale import Fields, Instructed, Pretrained, Scale, Tagger

_ROOT = Path(__file__).resolve().parents[2]
_FILES = ("train_file", "validation_file", "test_file")


@dataclass(frozen=True)
class Reproduction:
    """A scale on somebody's data and machine.

    Attributes:
        scale: its runs.
        data: where the data sets are.
        output: where each run gets a directory, as `directory` says.
        tasks: the tasks that are wanted.
        seeds: the seeds that are wanted; None for those of the scale.
        launch: a file of `accelerate config`, or None.
        fields: what all runs are given, `--field value ...`.
        console: where progress is shown.
    """

    scale: Scale
    data: Path
    output: Path
    tasks: tuple[str, ...]
    seeds: str | None
    launch: Path | None
    fields: tuple[str, ...]
    console: Console

    def run(self, names: Sequence[str]) -> list[str]:
        """Run what is not finished, and what it needs.

        Args:
            names: those of the runs that are wanted.

        Returns:
            What failed, each in a line.
        """
        failures: list[str] = []
        runs = {**self.scale.taggers, **self.scale.instructed}
        for name, model in self.scale.pretrained.items():
            if any(runs[each].pretrained == name for each in names):
                self._pretrain(name, model)
        for name, task in self.sweeps():
            if name in names:
                self.console.rule(f"{name}: {task}")
                if not self._sweep(name, task):
                    failures.append(f"{name}: {task}: see {self.directory(name, task)}")
        for name, task, seed in self.instructions():
            if name in names:
                self.console.rule(f"{name}: {task}, seed {seed}")
                if error := self._instruct(name, task, seed):
                    failures.append(f"{name}: {task}, seed {seed}: {error}")
        return failures

    def sweeps(self) -> Iterator[tuple[str, str]]:
        """Tagger and task of every sweep."""
        for name, tagger in self.scale.taggers.items():
            for task in self.scale.tasks_of(tagger, self.tasks):
                yield name, task

    def instructions(self) -> Iterator[tuple[str, str, int]]:
        """Model, task and seed of every run of instructions."""
        for name, model in self.scale.instructed.items():
            for task in self.scale.tasks_of(model, self.tasks):
                for seed in parse_seeds(self.scale.seeds_of(model, self.seeds)):
                    yield name, task, seed

    def directory(self, name: str, task: str) -> Path:
        """Where the runs on a task are."""
        return self.output / ("taggers" if name in self.scale.taggers else "instructed") / name / task

    def data_of(self, task: str) -> Fields:
        """The fields that say where a task's data are."""
        return _in(self.data, self.scale.tasks[task].data)

    def _pretrain(self, name: str, model: Pretrained) -> None:
        directory = self._model(name)
        with holding(Path(f"{directory}.lock")):
            if (directory / RESULTS).is_file():
                return
            self.console.rule(f"pretraining {name}")
            fields = {**_in(self.data, model.fields), **self._make_text(), "output_dir": directory}
            if any(directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
                fields["resume_from_checkpoint"] = "true"
            program = [str(_ROOT / "scripts" / "pretrain.py"), str(_ROOT / model.recipe)]
            subprocess.run([*self._launcher(), *program, *as_flags(fields), *self.fields], check=True)

    def _make_text(self) -> Fields:
        """Makes text and tokenizer, where the scale has a corpus for them; the fields that name them."""
        if self.scale.text is None:
            return {}
        directory = self.output / "text"
        if not (directory / "tokenizer").is_dir():
            corpus, size = self.data / self.scale.text["train_file"], self.scale.text["vocab_size"]
            make_text.main([str(corpus), str(directory), "--vocab_size", str(size)])
        return {"train_file": directory / "text.txt", "tokenizer_name_or_path": directory / "tokenizer"}

    def _sweep(self, name: str, task: str) -> bool:
        tagger = self.scale.taggers[name]
        fields = {**self._fields(tagger, task), **self.data_of(task), "output_dir": self.directory(name, task)}
        return run_sweep(
            [str(_ROOT / tagger.recipe.replace("{task}", task)), *as_flags(fields), *self.fields],
            patterns=tagger.patterns,
            seeds=self.scale.seeds_of(tagger, self.seeds),
            axes=[f"model_name_or_path={','.join(self._checkpoints(tagger))}"] if tagger.every_checkpoint else (),
            launch=self.launch,
            console=self.console,
        )

    def _checkpoints(self, tagger: Tagger) -> list[str]:
        """Those of the pretrained model, in the order of their steps."""
        found = self._model(str(tagger.pretrained)).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        return [str(path) for path in sorted(found, key=lambda path: int(path.name.split("-")[-1]))]

    def _instruct(self, name: str, task: str, seed: int) -> str | None:
        """Instructs a model and scores its answers; what went wrong, if something did."""
        model, instructions = self.scale.instructed[name], self.scale.tasks[task].instructions
        if instructions is None:
            return f"the task {task} has no instructions"
        directory, data = self.directory(name, task) / f"seed={seed}", self.data_of(task)
        with holding(Path(f"{directory}.lock")):
            if (directory / RESULTS).is_file():
                return None
            form = directory / "data" / "train.yaml"
            reading = as_flags({name: data[name] for name in ("columns", "tag_scheme") if name in data})
            tagging_as_text.main(
                ["prepare", data["train_file"], str(form.with_suffix(".jsonl")), *reading,
                 "--instructions", str(_ROOT / instructions), *_limit(data, "max_train_samples")]
            )  # fmt: skip
            fields = {
                **self._fields(model, task), "seed": seed, "dataset_name": form.parent,
                "output_dir": directory / "model", "disable_tqdm": "true",
            }  # fmt: skip
            training = ["-m", "trl.scripts.sft", "--config", str(_ROOT / model.recipe), *as_flags(fields), *self.fields]
            log = directory / "train.log"
            with log.open("ab") as file:
                ended = subprocess.run([*self._launcher(), *training], stdout=file, stderr=file, check=False)
            if ended.returncode != 0:
                return f"exit status {ended.returncode}, see {log}"
            scores = {}
            for split, limit in {"validation": "max_eval_samples", "test": "max_test_samples"}.items():
                path = directory / f"{split}.json"
                tagging_as_text.main(
                    ["score", str(directory / "model"), data[f"{split}_file"], *reading, "--instructions", str(form),
                     "--max_new_tokens", str(model.max_new_tokens), "--output", str(path), *_limit(data, limit),
                     *(["--sample_seed", str(seed), "--lenient"] if model.is_as_published else [])]
                )  # fmt: skip
                scores[split] = json.loads(path.read_text(encoding="utf-8"))
            (directory / RESULTS).write_text(json.dumps({"scores": scores}, indent=1) + "\n", encoding="utf-8")
        return None

    def _fields(self, run: Tagger | Instructed, task: str) -> Fields:
        """The fields in which a run differs from its recipe, data and place aside."""
        model = {"model_name_or_path": self._model(run.pretrained)} if run.pretrained else {}
        return {**model, **run.fields, **run.fields_of.get(task, {})}

    def _model(self, name: str) -> Path:
        """Where a pretrained model is."""
        return self.output / "pretrained" / name

    def _launcher(self) -> list[str]:
        if self.launch is None:
            return [sys.executable]
        return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(self.launch)]


def _in(directory: Path, fields: Fields) -> Fields:
    """Fields whose files are in a directory."""
    return {name: str(directory / value) if name in _FILES else value for name, value in fields.items()}


def _limit(data: Fields, name: str) -> list[str]:
    return ["--max_samples", str(data[name])] if name in data else []
