"""Generation in scope "prompt": what `generate` was given, and what a cache was filled with."""

import inspect
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from ._errors import UnsupportedModelError
from ._state import Generated, SharedState

# Attributes on a cache: the prompts that it was filled with, and the last mask of whole rows it was held against.
_MARK: Final = "_decausal_prompts"
_WHOLE: Final = "_decausal_whole"


class PromptedGenerate:
    """Stands in for a model's `generate`, whose first forward may hold drafted tokens, or a part of the prompt only.

    So what it was given is noted: that much is prompt, however the tokens come.
    """

    def __init__(self, model: PreTrainedModel, state: SharedState) -> None:
        self.model = model
        self.state = state

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(type(self.model).generate)  # type: ignore[attr-defined]

    def __call__(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        generate: Any = type(self.model).generate  # type: ignore[attr-defined]
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


def num_cached_tokens(cache: Any, name: str) -> int:
    """How many tokens are in a cache that scope "prompt" can go on from.

    Raises:
        UnsupportedModelError: its keys are not the last ones, or it does not tell.
    """
    if cache is None:
        return 0
    if not isinstance(cache, Cache):
        raise UnsupportedModelError(
            f'{name}: scope="prompt" does not work with a cache of type {type(cache).__name__}; give a DynamicCache.'
        )
    if getattr(cache, "is_compileable", False):
        raise UnsupportedModelError(
            f'{name}: scope="prompt" does not work with a static cache ({type(cache).__name__}), whose keys are not '
            f'the last ones; generate with the dynamic one (cache_implementation="dynamic").'
        )
    return int(cache.get_seq_length())


def mark(cache: Any, prompt_mask: Tensor, num_cached: int) -> None:
    """Notes on a cache which of its tokens were prompt: those of the forward that is over, after `num_cached` others.

    What is behind the note's end is answer.
    """
    if not isinstance(cache, Cache):
        return
    noted = getattr(cache, _MARK, None)
    if num_cached:
        before = prompt_mask.new_zeros(len(prompt_mask), num_cached) if noted is None else noted
        prompt_mask = torch.cat([_rows(before, num_cached, len(prompt_mask)), prompt_mask], dim=-1)
    setattr(cache, _MARK, prompt_mask)


def check_continued(cache: Any, num_cached: int, new: Tensor, said: Tensor | None, real: Any, name: str) -> None:
    """Refuses to go on from a cache whose tokens did not see what they would see in one forward.

    Args:
        cache: the cache, of `num_cached` tokens.
        num_cached: their number.
        new: bool, shape `(batch, query_len)`, True = a token of a prompt that comes now.
        said: bool, shape `(batch, num_cached)`: what is now said to have been prompt; None where nothing is.
        real: the padding mask of whole rows, if there is one.
        name: the model's, for the message.

    Raises:
        UnsupportedModelError: says what differs.
    """
    noted = getattr(cache, _MARK, None)
    if noted is None:
        if said is None:
            return  # keys in front of all tokens, such as those of prefix tuning
        raise UnsupportedModelError(
            f"{name}: the {num_cached} tokens in the cache were not computed by this model with its prompts open "
            f"(prefix tuning, a cache filled while paused), so that going on would not be exact. Fill the cache inside "
            f"the block too, or generate from the whole conversation without one."
        )
    noted = noted.to(new.device)
    after = _rows(noted, noted.shape[-1], len(new))[:, num_cached : num_cached + 1]  # cropped since
    before = _rows(noted, num_cached, len(new))
    if (before[:, -1:] & (new[:, :1] | after if after.shape[-1] else new[:, :1])).any():
        raise UnsupportedModelError(
            f"{name}: a prompt is split: {num_cached} tokens are in the cache, the last of them of a prompt that goes "
            f"on now, which they could not see (prefill_chunk_size, a cached beginning of a prompt, a cropped cache). "
            f"Give the whole prompt in one forward."
        )
    if said is not None:
        differ = said.to(new.device) ^ before
        if isinstance(real, Tensor) and real.ndim == 2 and real.shape[-1] >= num_cached and len(real) == len(new):
            differ = differ & real[:, :num_cached].bool()
        if differ.any():
            raise UnsupportedModelError(
                f"{name}: prompt_mask says of {int(differ.sum())} tokens in the cache that they were computed as the "
                f"other kind, prompt or answer. Give the prompts that the cache was filled with, or start anew."
            )


def part(whole: Tensor, batch: int, length: int, num_cached: int) -> Tensor:
    """The part of a mask of whole rows that a forward with a cache computes; what is behind its end is answer.

    Raises:
        ValueError: the rows of a batch are no multiple of its own.
    """
    if batch % len(whole):
        raise ValueError(f"handle.prompt was given {len(whole)} rows, and {batch} are generated.")
    found = whole[:, num_cached : num_cached + length]
    found = torch.nn.functional.pad(found, (0, length - found.shape[-1]))
    return found.repeat_interleave(batch // len(whole), dim=0)


def check_whole(whole: Tensor, end: int, name: str) -> None:
    """Refuses a forward that ends in the middle of a prompt.

    Raises:
        UnsupportedModelError: says where.
    """
    if whole.shape[-1] > end and (whole[:, end - 1] & whole[:, end]).any():
        raise UnsupportedModelError(
            f"{name}: a prompt is split: this forward ends at token {end} of {whole.shape[-1]}, in the middle of a "
            f"prompt, whose tokens would not see the others (prefill_chunk_size). Give the whole prompt in one forward."
        )


def is_new(cache: Any, whole: Tensor) -> bool:
    """Whether a cache meets a mask of whole rows for the first time; decoding does again and again."""
    if getattr(cache, _WHOLE, None) is whole:
        return False
    setattr(cache, _WHOLE, whole)
    return True


def _rows(mask: Tensor, length: int, batch: int) -> Tensor:
    """A noted mask cut or padded (answers) to a length; for other rows than the noted ones, what any of them was."""
    mask = mask[:, :length]
    mask = torch.nn.functional.pad(mask, (0, length - mask.shape[-1]))
    return mask if len(mask) == batch else mask.any(0, keepdim=True).expand(batch, -1)
