"""Axolotl: `plugins: [decausal.hosts.axolotl.DecausalPlugin]` and a `decausal:` block in its YAML."""

from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, ConfigDict, field_validator
from transformers import PreTrainedModel

from decausal._errors import UnsupportedModelError
from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.hosts._join import Host, join

HOST = Host("Axolotl", "axolotl", tested="0.19.0", oldest="0.19.0", newest="0.20")


class DecausalBlock(BaseModel):
    """What stands under `decausal:` in the YAML.

    Attributes:
        unmask: which layers; see `LayerPattern`.
        scope: `"prompt"` for models that write text, `"all"` for those that classify.
    """

    model_config = ConfigDict(extra="forbid")

    unmask: str
    scope: Scope = "all"

    @field_validator("unmask", mode="before")
    @classmethod
    def _is_pattern(cls, value: Any) -> str:
        try:
            return str(LayerPattern.parse(value))
        except TypeError as error:  # 0011 without quotes is a number, which pydantic would call just that
            raise ValueError(str(error)) from error


class DecausalArguments(BaseModel):
    """The key that we add to Axolotl's own."""

    decausal: DecausalBlock | None = None


class DecausalPlugin(BasePlugin):  # type: ignore[misc]
    """Unmasks the model as soon as Axolotl has built it: before LoRA, and for every command that loads the YAML."""

    def get_input_args(self) -> str:
        """Where Axolotl finds our key."""
        return f"{DecausalArguments.__module__}.{DecausalArguments.__qualname__}"

    def post_model_build(self, cfg: Any, model: PreTrainedModel) -> None:
        """Unmask the model that Axolotl has built.

        Raises:
            ValueError: there is no `decausal:` block.
            UnsupportedModelError: the run cannot be exact; see `join`.
        """
        if not cfg.decausal:
            raise ValueError(
                "the YAML lists the plugin of decausal and has no block that says what to unmask: add "
                'decausal: {unmask: "0011", scope: prompt}'
            )
        if (cfg.context_parallel_size or 1) > 1:
            raise UnsupportedModelError(
                f"context_parallel_size={cfg.context_parallel_size}: ring attention masks by itself, causally; set it "
                f"to 1."
            )
        join(model, cfg.decausal["unmask"], cfg.decausal["scope"], HOST)
