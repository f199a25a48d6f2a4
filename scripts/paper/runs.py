"""The runs of a scale, one kind after the other; what is finished is not run again."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from transformers import TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import ModelConfig, ScriptArguments, SFTConfig

import make_text
from answers import InstructionForm
from decausal.sweep.run import RunFailedError, holding, launch
from decausal.sweep.space import parse_seeds
from decausal.sweep.sweep import run_sweep
from decausal.tagging.arguments import as_flags, parse_fields, parse_recipe, read_recipe
from decausal.tagging.results import RESULTS
from model_directory import appearing
from paper.facts import FILES, check_files, hold, within, write
from paper.scale import Fields, Instructed, Pretrained, Scale, Tagger
from pretrain import PretrainingArguments

_ROOT = Path(__file__).resolve().parents[2]
READING = ("columns", "separator", "file_format", "tag_scheme")
_SPLITS = {"validation": "max_eval_samples", "test": "max_test_samples"}
_FACTS, _FORM = "run.json", Path("data", "train.yaml")
_TEXT = (sys.executable, str(_ROOT / "scripts" / "tagging_as_text.py"))
_SECONDS_BETWEEN = 2.0


class BusyError(Exception):
    """Another process is at this run."""


@dataclass(frozen=True)
class Reproduction:
    """A scale on somebody's data and machine.

    Attributes:
        scale: its runs.
        data: where the data sets are.
        output: where each run gets a directory, as `directory` says.
        tasks: the tasks that are wanted.
        seeds: the seeds that are wanted; None for those of the scale.
        launch_file: a file of `accelerate config`, or None.
        fields: what all runs are given, `--field value ...`, where the scale says nothing else.
        console: where progress is shown.
    """

    scale: Scale
    data: Path
    output: Path
    tasks: tuple[str, ...]
    seeds: str | None
    launch_file: Path | None
    fields: tuple[str, ...]
    console: Console

    def check(self, names: Sequence[str]) -> None:
        """Try all that can be tried of these runs before the first of them.

        Raises:
            ValueError: a recipe does not take a field, or a file or instructions are missing.
        """
        if self.launch_file is not None and not self.launch_file.is_file():
            raise ValueError(f"--launch {self.launch_file} is not there: give a file of accelerate config.")
        for name, model in self._needed(names).items():
            fields = within(self.data, model.fields)
            if self.scale.text is not None:
                fields |= {"train_file": self.data / self.scale.text.train_file}
            check_files(name, fields)
            types = (PretrainingArguments, TrainingArguments)
            parse_fields([str(_ROOT / model.recipe), *self.fields, *as_flags(fields)], types, "scripts/pretrain.py")
        for name in names:
            run = self.scale.runs[name]
            for task in self.scale.tasks_of(name, self.tasks):
                fields = self.fields_of(name, task)
                check_files(f"{name}: {task}", fields)
                if isinstance(run, Tagger):
                    parse_recipe([self._recipe(run, task), *self.fields, *as_flags(fields)])
                else:
                    self._form(task)
                    self._parse_instructed(name, task)
                    if missing := {*FILES} - {*fields}:
                        raise ValueError(f"{name}: {task} lacks {', '.join(sorted(missing))}, which is answered.")

    def run(self, names: Sequence[str], *, retry_failed: bool = False) -> list[str]:
        """Run what is not finished, and what it needs.

        Args:
            names: those of the runs that are wanted.
            retry_failed: run taggers again that failed before.

        Returns:
            What failed, each in a line.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        models = self._needed(names)
        failures = self._finish({name: partial(self._pretrain, name, model) for name, model in models.items()})
        lost = [name for name in names if self.scale.runs[name].pretrained in failures]
        told = [f"pretraining {name}: {error}" for name, error in failures.items()]
        told += [f"{name} begins with {self.scale.runs[name].pretrained}, which is not there" for name in lost]
        for name, task in self.sweeps():
            if name in names and name not in lost:
                self.console.rule(f"{name}: {task}")
                try:
                    if not self._sweep(name, task, retry_failed):
                        told.append(f"{name}: {task}: see {self.directory(name, task) / 'logs'}")
                except (ValueError, OSError) as error:
                    told.append(f"{name}: {task}: {error}")
        steps = {
            f"{name}: {task}, seed {seed}": partial(self._instruct, name, task, seed)
            for name, task, seed in self.instructions()
            if name in names and name not in lost
        }
        return told + [f"{name}: {error}" for name, error in self._finish(steps).items()]

    def sweeps(self) -> Iterator[tuple[str, str]]:
        """Tagger and task of every sweep."""
        for name in self.scale.taggers:
            for task in self.scale.tasks_of(name, self.tasks):
                yield name, task

    def instructions(self) -> Iterator[tuple[str, str, int]]:
        """Model, task and seed of every run of instructions."""
        for name in self.scale.instructed:
            for task in self.scale.tasks_of(name, self.tasks):
                for seed in parse_seeds(self.scale.seeds_of(name, self.seeds)):
                    yield name, task, seed

    def directory(self, name: str, task: str) -> Path:
        """Where the runs on a task are."""
        return self.output / ("taggers" if name in self.scale.taggers else "instructed") / name / task

    def data_of(self, task: str) -> Fields:
        """The fields that say where a task's data are and how they are read."""
        return within(self.data, self.scale.tasks[task].data)

    def fields_of(self, name: str, task: str) -> Fields:
        """All fields in which a run differs from its recipe, place and seed aside."""
        run = self.scale.runs[name]
        model = {"model_name_or_path": self._model(run.pretrained)} if run.pretrained else {}
        return {**self.data_of(task), **model, **within(self.data, {**run.fields, **run.fields_of.get(task, {})})}

    def _needed(self, names: Sequence[str]) -> dict[str, Pretrained]:
        """The models that these runs begin with."""
        needed = {self.scale.runs[name].pretrained for name in names}
        return {name: model for name, model in self.scale.pretrained.items() if name in needed}

    def _finish(self, steps: dict[str, Callable[[], None]]) -> dict[str, str]:
        """Does all steps that no other process does, and waits for the others; of those that failed the reason."""
        failures, waiting = {}, dict(steps)
        while waiting:
            for name, step in [*waiting.items()]:
                try:
                    step()
                except BusyError:
                    continue
                except (RunFailedError, ValueError, OSError) as error:
                    failures[name] = str(error)
                del waiting[name]
            if waiting:
                time.sleep(_SECONDS_BETWEEN)
        return failures

    def _pretrain(self, name: str, model: Pretrained) -> None:
        directory = self._model(name)
        with holding(Path(f"{directory}.lock"), _give_way) as lock:
            fields = {**within(self.data, model.fields), **self._make_text()}
            recipe = {**read_recipe(_ROOT / model.recipe), **fields}
            is_begun = any(directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*")) or (directory / RESULTS).is_file()
            self._hold(Path(f"{directory}.json"), recipe, is_begun)
            if (directory / RESULTS).is_file():
                return
            self.console.print(f"pretraining {name}; log: {directory}.log")
            place = {"output_dir": directory, "resume_from_checkpoint": "auto", "overwrite_output_dir": "true"}
            program = [str(_ROOT / "scripts" / "pretrain.py"), str(_ROOT / model.recipe)]
            command = [*self._launcher(), *program, *self.fields, *as_flags({**fields, **place})]
            launch(command, Path(f"{directory}.log"), lock, directory / RESULTS, to_all=self._is_launched)

    def _make_text(self) -> Fields:
        """Makes text and tokenizer, where the scale has a corpus for them; the fields that name them."""
        if self.scale.text is None:
            return {}
        directory = self.output / "text"
        with holding(Path(f"{directory}.lock")):
            corpus, size = self.data / self.scale.text.train_file, self.scale.text.vocab_size
            self._hold(Path(f"{directory}.json"), {"train_file": corpus, "vocab_size": size}, directory.is_dir())
            if not directory.is_dir():
                with appearing(directory) as unfinished:
                    make_text.main([str(corpus), str(unfinished), "--vocab_size", str(size)])
        return {"train_file": directory / "text.txt", "tokenizer_name_or_path": directory / "tokenizer"}

    def _sweep(self, name: str, task: str, retry_failed: bool) -> bool:
        tagger = self.scale.taggers[name]
        fields = {**self.fields_of(name, task), "output_dir": self.directory(name, task)}
        return run_sweep(
            [self._recipe(tagger, task), *self.fields, *as_flags(fields)],
            patterns=tagger.patterns,
            seeds=self.scale.seeds_of(name, self.seeds),
            axes=[f"model_name_or_path={','.join(self.checkpoints(tagger))}"] if tagger.every_checkpoint else (),
            launch=self.launch_file,
            retry_failed=retry_failed,
            console=self.console,
        )

    def checkpoints(self, tagger: Tagger) -> list[str]:
        """Those of the pretrained model, in the order of their steps; not those of interruptions.

        Raises:
            OSError: it is not pretrained.
        """
        directory = self._model(str(tagger.pretrained))
        results = json.loads((directory / RESULTS).read_text(encoding="utf-8"))
        every, last = results["training"]["save_steps"], results["steps"]
        every = math.ceil(last * every) if every < 1 else every
        found = {
            int(path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")): str(path)
            for path in directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
            if (path / TRAINER_STATE_NAME).is_file()
        }
        return [found[step] for step in sorted(found) if step % every == 0 or step == last]

    def _instruct(self, name: str, task: str, seed: int) -> None:
        directory = self.directory(name, task) / f"seed={seed}"
        directory.mkdir(parents=True, exist_ok=True)
        model, trained = self.scale.instructed[name], directory / "model" / "training_args.bin"  # what is saved last
        with holding(Path(f"{directory}.lock"), _give_way) as lock:
            way = {"max_new_tokens": model.max_new_tokens, "as_published": model.as_published, **self._form(task)}
            recipe = {**read_recipe(Path(self._recipe(model, task))), **self.fields_of(name, task), **way}
            self._hold(directory / _FACTS, recipe, trained.is_file())
            if (directory / RESULTS).is_file():
                return
            self.console.print(f"{name}: {task}, seed {seed}; logs: {directory}/*.log")
            if not trained.is_file():
                self._write_instructions(name, task, directory, lock)
                place = {"dataset_name": directory / "data", "output_dir": trained.parent, "seed": seed}
                flags = as_flags({**self._trained(name, task), **place, "disable_tqdm": "true"})
                train = ["-m", "trl.scripts.sft", "--config", self._recipe(model, task), *self.fields, *flags]
                launch([*self._launcher(), *train], directory / "train.log", lock, trained, to_all=self._is_launched)
            paths = {split: self._score(name, task, seed, split, lock) for split in _SPLITS}
            scores = {split: json.loads(path.read_text(encoding="utf-8")) for split, path in paths.items()}
            write(directory / RESULTS, {"scores": scores})

    def _write_instructions(self, name: str, task: str, directory: Path, lock: int) -> None:
        """Makes the training data of TRL, and beside them the instructions with all types."""
        data, form = self.fields_of(name, task), directory / _FORM
        prepare = [*_TEXT, "prepare", data["train_file"], str(form.with_suffix(".jsonl")), *_reading(data)]
        way = ["--instructions", str(_ROOT / str(self.scale.tasks[task].instructions))]
        launch([*prepare, *way, *_limit(data, "max_train_samples")], directory / "prepare.log", lock, form)

    def _score(self, name: str, task: str, seed: int, split: str, lock: int) -> Path:
        """Has the model answer a split, unless it has; where the scores are."""
        directory, data = self.directory(name, task) / f"seed={seed}", self.fields_of(name, task)
        path = directory / f"{split}.json"
        if not path.is_file():
            score = [*_TEXT, "score", str(directory / "model"), data[f"{split}_file"], *_reading(data)]
            way = ["--instructions", str(directory / _FORM), *self._way(name, task, seed), "--output", str(path)]
            launch([*score, *way, *_limit(data, _SPLITS[split])], directory / f"{split}.log", lock, path)
        return path

    def _trained(self, name: str, task: str) -> Fields:
        """The fields of a run that TRL knows: not those of the data."""
        data = {*self.scale.tasks[task].data, *FILES, *READING, "max_train_samples", *_SPLITS.values()}
        return {each: value for each, value in self.fields_of(name, task).items() if each not in data}

    def _parse_instructed(self, name: str, task: str) -> tuple[Any, ...]:
        """The configuration of a run as TRL reads it."""
        flags = as_flags({**self._trained(name, task), "dataset_name": "data"})
        recipe = [self._recipe(self.scale.runs[name], task), *self.fields, *flags]
        return parse_fields(recipe, (ScriptArguments, SFTConfig, ModelConfig), "trl.scripts.sft")

    def _way(self, name: str, task: str, seed: int) -> list[str]:
        """How answers are written and read."""
        model = self.scale.instructed[name]
        published = ["--sample_seed", str(seed), "--lenient", "--dtype", "bfloat16", "--batch_size", "16"]
        return [
            *("--max_new_tokens", str(model.max_new_tokens)),
            *(published if model.as_published else ()),
            *(["--use_cpu"] if self._parse_instructed(name, task)[1].use_cpu else ()),
        ]

    def _form(self, task: str) -> dict[str, Any]:
        """What the instructions of a task say.

        Raises:
            ValueError: it has none.
        """
        path = self.scale.tasks[task].instructions
        if path is None:
            raise ValueError(f"the task {task} has no instructions: give a YAML of recipes/instruct.")
        return dict(InstructionForm.read(_ROOT / path, []).__dict__)

    def _hold(self, path: Path, recipe: Fields, is_begun: bool) -> None:
        """Holds what decides a run, the fields of all runs included, against what it was when that began."""
        launch_file = self.launch_file.read_text(encoding="utf-8") if self.launch_file else None
        of_all = dict(zip(self.fields[::2], self.fields[1::2], strict=False))
        hold(path, {**of_all, **recipe, "launch file": launch_file}, is_begun)

    def _recipe(self, run: Tagger | Instructed, task: str) -> str:
        return str(_ROOT / run.recipe.replace("{task}", task))

    def _model(self, name: str) -> Path:
        """Where a pretrained model is."""
        return self.output / "pretrained" / name

    @property
    def _is_launched(self) -> bool:
        """Whether accelerate stands between this process and a training."""
        return self.launch_file is not None

    def _launcher(self) -> list[str]:
        if self.launch_file is None:
            return [sys.executable]
        return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(self.launch_file)]


def _give_way() -> NoReturn:
    raise BusyError


def _reading(data: Fields) -> list[str]:
    """How a file is read, as a command line says it."""
    return as_flags({name: data[name] for name in READING if name in data})


def _limit(data: Fields, name: str) -> list[str]:
    return ["--max_samples", str(data[name])] if name in data else []
