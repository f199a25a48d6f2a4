"""Axolotl: `plugins: [decausal.hosts.axolotl.DecausalPlugin]` and a `decausal:` block in its YAML."""

from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel
from transformers import GenerationConfig, PreTrainedModel, Trainer, set_seed

from decausal._attach import RECORD
from decausal._checkpoint import make_record
from decausal._classifier import HEAD_NAMES, cast_head_input
from decausal._errors import UnsupportedModelError
from decausal.hosts._axolotl_yaml import REPAIRS, DecausalBlock, alignment_of, fit_tagging, is_tagging, repair
from decausal.hosts._follow import join_loaded
from decausal.hosts._join import Host, say
from decausal.hosts._seams import join_process
from decausal.hosts._wanted import Wanted
from decausal.tagging.model import record_of_tagging

HOST = Host("Axolotl", "axolotl", tested="0.19.0", oldest="0.19.0", below="0.20")
_JOINED = ("peft.peft_model", "accelerate.accelerator", "transformers.trainer")
"""The modules of which Axolotl has no hook for what is loaded, prepared and gone on from."""


class DecausalArguments(BaseModel):
    """The key that we add to Axolotl's own."""

    decausal: DecausalBlock | None = None


class DecausalPlugin(BasePlugin):  # type: ignore[misc]
    """Unmasks the model as soon as Axolotl has built it: before LoRA, and for every command that loads the YAML."""

    _undo: ClassVar = ExitStack()
    """Of the process, as is what it puts back: Axolotl makes a plugin anew each time that it loads a YAML."""

    def register(self, cfg: Any) -> None:
        """Fit the YAML, say what was changed of what it said, and join what this process saves and trains.

        `merge_method` becomes `legacy`, and what trains a tagger is changed as `fit_tagging` says. PEFT saves the
        pattern beside an adapter and follows one that lies there, and accelerate refuses a model that is causal by
        mistake, until training or the validation of the YAML has ended.

        Raises:
            ValueError: there is no `decausal:` block, or the YAML cannot train a tagger.
        """
        if not cfg.get("decausal"):
            raise ValueError(
                "the YAML lists the plugin of decausal and has no block that says what to unmask: add "
                'decausal: {unmask: "0011"}'
            )
        for change in repair(cfg, REPAIRS) + (fit_tagging(cfg) if is_tagging(cfg) else []):
            say(f"Axolotl: {change}")
        self._undo.close()
        wanted = Wanted(cfg["decausal"].get("unmask"), cfg["decausal"].get("scope"), HOST)
        self._undo.callback(join_process(wanted, _JOINED))

    def on_config_validation_error(self, cfg: Any) -> None:
        """Put back what `register` changed in the process, since there will be no run."""
        self._undo.close()

    def get_input_args(self) -> str:
        """Where Axolotl finds our key."""
        return f"{DecausalArguments.__module__}.{DecausalArguments.__qualname__}"

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """On a machine without an accelerator, training is on the CPU, which transformers wants to be told."""
        return {} if torch.accelerator.is_available() else {"use_cpu": True}

    def pre_model_load(self, cfg: Any) -> None:
        """Seed the fresh head of a tagger: Axolotl (0.19) seeds what comes behind the model only."""
        if is_tagging(cfg):
            set_seed(42 if cfg.seed is None else cfg.seed)  # by default that of transformers

    def post_model_build(self, cfg: Any, model: PreTrainedModel) -> None:
        """Unmask the model that Axolotl has built.

        Raises:
            UnsupportedModelError: the run cannot be exact; see `join`.
        """
        if (cfg.context_parallel_size or 1) > 1:
            raise UnsupportedModelError(
                f"context_parallel_size={cfg.context_parallel_size}: ring attention masks by itself, causally; set it "
                f"to 1."
            )
        block = DecausalBlock(**cfg.decausal)
        join_loaded(model, Wanted(block.unmask, block.scope, HOST))
        if is_tagging(cfg):
            _make_tagger(model, cfg, block)

    def pre_lora_load(self, cfg: Any, model: PreTrainedModel) -> None:
        """Keep LoRA off the head of a tagger, which is trained whole."""
        if is_tagging(cfg) and cfg.adapter:
            head = next(name for name in HEAD_NAMES if hasattr(model, name))
            # No key of Axolotl's YAML, but its loader hands it to PEFT.
            cfg.lora_exclude_modules = sorted({head, *(cfg.lora_exclude_modules or [])})
            say(f"Axolotl: lora_exclude_modules={cfg.lora_exclude_modules}, or lora_target_linear would adapt the head")

    def get_trainer_cls(self, cfg: Any) -> type[Trainer] | None:
        """The trainer of a tagger; Axolotl's own otherwise."""
        if not is_tagging(cfg):
            return None
        from decausal.hosts._axolotl_trainer import AxolotlTaggingTrainer

        return AxolotlTaggingTrainer

    def post_train_unload(self, cfg: Any) -> None:
        """Put back what `register` changed in the process."""
        self._undo.close()


def _make_tagger(model: PreTrainedModel, cfg: Any, block: DecausalBlock) -> None:
    """Gives the model its label names, what a saved pattern is kept with, and beside an adapter a head in float32."""
    assert block.labels is not None, "fit_tagging has found them"
    model.config.id2label = dict(enumerate(block.labels))
    model.config.label2id = {label: i for i, label in enumerate(block.labels)}
    record = make_record(model.config, block.unmask)
    setattr(model.config, RECORD, record | record_of_tagging(alignment_of(cfg)))
    model.config.architectures = [type(model).__name__]
    if cfg.merge_lora:
        model.generation_config = GenerationConfig()  # merge-lora sets a field of it, and a classifier has none
    if cfg.adapter and not cfg.fsdp_config:  # FSDP shards numbers of one type
        for name in HEAD_NAMES:
            if hasattr(model, name):
                getattr(model, name).to(torch.float32)
        cast_head_input(model)
