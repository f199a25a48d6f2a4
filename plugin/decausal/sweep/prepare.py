"""A sweep or search as its command line says it, checked before its first run."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from decausal._layers import num_decoder_layers
from decausal._pattern import LayerPattern
from decausal.sweep.run import Runner
from decausal.sweep.space import Space, name_setting, parse_axes, parse_seeds
from decausal.sweep.storage import HEARTBEAT_SECONDS
from decausal.tagging.arguments import as_flags, parse_recipe
from decausal.tagging.base import read_config
from decausal.tagging.early_exit import keep_first_layers
from decausal.tagging.outputs import as_json, depends_on, hash_sentences, writing
from decausal.tagging.patterns import parse_patterns
from decausal.tagging.splits import Corpus

COMMON_FILE = "sweep.json"
_OF_TRAINING = (
    "num_train_epochs",
    "max_steps",
    "warmup_steps",
    "lr_scheduler_kwargs",
    "neftune_noise_alpha",
    "optim_args",
    "dataloader_drop_last",
    "eval_strategy",
    "eval_steps",
    "load_best_model_at_end",
    "metric_for_best_model",
)
"""What decides a score, beside what weights depend on when a run goes on."""


@dataclass(frozen=True)
class Plan:
    """What a sweep or search is going to try.

    Attributes:
        space: the settings.
        runner: runs one.
        common: what all runs have in common, and what may not change when the sweep goes on.
        num_layers: how many decoder layers the model has.
        num_sentences: how many of each split a run reads.
    """

    space: Space
    runner: Runner
    common: dict[str, Any]
    num_layers: int
    num_sentences: Mapping[str, int]

    @classmethod
    def of(
        cls,
        arguments: Sequence[str],
        patterns: str,
        seeds: str | None = None,
        axes: Sequence[str] = (),
        launch: Path | None = None,
        *,
        draws: bool = False,
        prunes: bool = False,
        heartbeat_seconds: int = HEARTBEAT_SECONDS,
    ) -> "Plan":
        """Reads recipe and data, and tries every setting as far as that takes no model.

        Args:
            arguments: `RECIPE.yaml --field value ...`.
            patterns: as `parse_patterns` reads them.
            seeds: as `parse_seeds` reads them; by default the recipe's.
            axes: as `parse_axes` reads them.
            launch: a file of `accelerate config`.
            draws: whether a sampler chooses among the settings.
            prunes: whether runs are stopped early.
            heartbeat_seconds: between signs of life of all workers.

        Raises:
            ValueError: a field, pattern, seed or axis does not fit, or there is no validation data to choose by.
            DataError: the data cannot be read.
        """
        tagging, model_config, training = parse_recipe(arguments)
        if tagging.shared_patterns is not None:
            raise ValueError(
                f"shared_patterns={tagging.shared_patterns!r}: a run here has one pattern; drop it from the recipe."
            )
        config = keep_first_layers(read_config(model_config), tagging.num_hidden_layers)
        depth = num_decoder_layers(config.get_text_config(decoder=True)) or 0
        found = parse_seeds(str(training.seed) if seeds is None else seeds)
        space = Space(parse_patterns(patterns, depth), found, parse_axes(axes), draws)
        if draws and len(found) > 1:
            raise ValueError(f"sampler=tpe with seeds={seeds}: it compares single runs; give one seed.")
        if prunes and (training.eval_strategy != training.save_strategy or training.eval_strategy == "no"):
            raise ValueError(
                f"eval_strategy={training.eval_strategy}, save_strategy={training.save_strategy}: a run is "
                f"stopped early by evaluations that its checkpoints tell of; give both the same, epoch or steps."
            )
        directory = Path(str(training.output_dir))
        runner = Runner(Path(arguments[0]), tuple(arguments[1:]), launch, directory)
        for setting in space.settings():
            if setting["seed"] == space.seeds[0]:
                _check_setting(runner, setting)
        if len({name_setting(setting) for setting in space.settings()}) < len(space.settings()):
            raise ValueError(f"axis={axes}: two values differ in / and _ only: their runs would have one directory.")
        corpus = Corpus.read(tagging)
        if "validation" not in corpus.sentences:
            raise ValueError("patterns are chosen on validation data, and this recipe has none: give validation_file.")
        common = {
            **depends_on(tagging, model_config, training, (), corpus.sentences["train"]),
            **{name: getattr(training, name) for name in _OF_TRAINING},
            "early_stopping_patience": tagging.early_stopping_patience,
            **{f"{name} data (SHA-256)": hash_sentences(found) for name, found in corpus.sentences.items()},
            "groups of layers": space.num_groups,
            "patterns": None if space.num_groups else space.patterns,
            "axes": space.axes,
            "launch file": launch.read_text(encoding="utf-8") if launch else None,
            "seconds between signs of life": heartbeat_seconds,
        }
        for name in ("layers", "seed", *space.axes):
            common.pop(name, None)
        sizes = {name: len(found) for name, found in corpus.sentences.items()}
        return cls(space, runner, as_json(common), depth, sizes)

    def check(self, study: optuna.Study) -> None:
        """Holds what the runs have in common against those that study and directory hold already.

        Raises:
            ValueError: the two differ.
        """
        self._compare(study.user_attrs.get("common"), f"study={study.study_name!r}", "--study")
        self.check_directory()
        study.set_user_attr("common", self.common)

    def check_directory(self) -> None:
        """As `check`, for the directory alone.

        Raises:
            ValueError: it holds runs of another sweep or search.
        """
        path = self.runner.directory / COMMON_FILE
        self._compare(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None, path, "--output_dir")
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")  # other workers read it meanwhile
            fresh.write_text(json.dumps(self.common, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            fresh.replace(path)

    def _compare(self, saved: dict[str, Any] | None, place: object, flag: str) -> None:
        for name in {**(saved or self.common), **self.common}:
            if saved is not None and saved.get(name) != self.common.get(name):
                raise ValueError(
                    f"{place}: its runs have {name}={saved.get(name)}, and these would have {self.common.get(name)}, "
                    f"so that they could not be compared: give another {flag}, or the recipe that they have."
                )


def _check_setting(runner: Runner, setting: dict[str, Any]) -> None:
    try:
        tagging, model_config, _ = parse_recipe([str(runner.recipe), *runner.overrides, *as_flags(setting)])
        config = keep_first_layers(read_config(model_config), tagging.num_hidden_layers)
        LayerPattern.parse(tagging.unmask).layers(num_decoder_layers(config.get_text_config(decoder=True)) or 0)
    except ValueError as error:
        raise ValueError(f"{name_setting(setting)}: {error}") from error
