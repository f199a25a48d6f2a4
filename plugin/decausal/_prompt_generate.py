"""A model's `generate` in scope "prompt": notes what it was given, which is the prompt."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ._errors import UnsupportedModelError
from ._prompt_cache import num_cached_tokens
from ._state import Generated, SharedState


class PromptedGenerate:
    """Stands in for a model's `generate`, whose first forward may hold drafted tokens, or a part of the prompt only.

    So what it was given is noted: that much is prompt, however the tokens come.
    """

    def __init__(self, model: PreTrainedModel, state: SharedState) -> None:
        self.model = model
        self.state = state

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__func__)

    @property
    def __func__(self) -> Callable[..., Any]:
        """As the bound method has it: LLaMA-Factory (0.9.5) looks there whose `generate` it is."""
        generate: Callable[..., Any] = type(self.model).generate  # type: ignore[attr-defined]
        return generate

    def __call__(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        generate = self.__func__
        run = self.state.run
        if not self.state.active_layers() or run.generated is not None:  # the latter: called by a generate of ours
            return generate(self.model, inputs, *args, **kwargs)
        self._check_guidance(args, kwargs)
        run.generated = self._given(inputs, kwargs)
        try:
            return generate(self.model, inputs, *args, **kwargs)
        finally:
            run.generated = None

    def _given(self, inputs: Tensor | None, kwargs: dict[str, Any]) -> Generated | None:
        embeddings = kwargs.get("inputs_embeds")
        ids = inputs if inputs is not None else kwargs.get("input_ids")
        tokens = embeddings if isinstance(embeddings, Tensor) else ids
        if not isinstance(tokens, Tensor):
            return None
        if num_cached_tokens(kwargs.get("past_key_values"), type(self.model).__name__):
            return Generated(None, tokens is ids)
        return Generated(torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device), tokens is ids)

    def _check_guidance(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        config = args[0] if args else kwargs.get("generation_config")
        scale = kwargs.get("guidance_scale", getattr(config or self.model.generation_config, "guidance_scale", None))
        if scale is not None and scale != 1:
            raise UnsupportedModelError(
                f"{type(self.model).__name__}: guidance_scale={scale} decodes a second text, of which "
                f'scope="prompt" is not told what is prompt; generate without it.'
            )


def attach_generate(model: nn.Module, state: SharedState) -> None:
    """Puts `PromptedGenerate` in the place of a model's `generate`, if it has one.

    Raises:
        UnsupportedModelError: something else has put its own there.
    """
    if not isinstance(model, PreTrainedModel) or not model.can_generate():
        return
    found = model.__dict__.get("generate")
    if isinstance(found, PromptedGenerate):
        return
    if found is not None:
        raise UnsupportedModelError(
            f"{type(model).__name__}: its generate has been replaced, by {found!r}: undo that before unmasking."
        )
    model.__dict__["generate"] = PromptedGenerate(model, state)


def detach_generate(model: nn.Module) -> None:
    """Undoes `attach_generate`."""
    if isinstance(model.__dict__.get("generate"), PromptedGenerate):
        del model.__dict__["generate"]
