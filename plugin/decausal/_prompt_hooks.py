"""The forward pre-hooks of scope "prompt": one finds the prompts of a forward, one opens a layer's mask among them."""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from ._errors import UnsupportedModelError
from ._hooks import Args, Kwargs, ModelGuard, OpenLayer
from ._layers import Kernel, attention_kernel
from ._masks import AttentionMask, Scope, is_visible
from ._prompts import causal_mask, open_prompts, open_prompts_of_block_mask, prompt_spans

IGNORE_INDEX: Final = -100
_OURS: Final = ("prompt_mask", "completion_mask")


class OpenPrompts(OpenLayer):
    """The forward pre-hook of a layer in which the tokens of each prompt see both sides."""

    scope: Scope = "prompt"

    def open(self) -> None:
        """Leave the attention modules as they are: the mask says it all, and a cached answer is causal."""

    def close(self) -> None:
        """Nothing to put back."""

    def __call__(self, layer: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        spans = self.state.spans
        if spans is not None and spans.shape[-1] == 1:
            return None  # a single token, such as the next one of an answer, has nothing to its right
        return super().__call__(layer, args, kwargs)

    def _check_cache(self, args: Args, kwargs: Kwargs) -> None:
        """Cached tokens are left of those that come now, and saw all that they may see."""

    def _open(self, mask: AttentionMask, position_ids: Tensor | None, args: Args, kwargs: Kwargs) -> AttentionMask:
        spans = self.state.spans
        if spans is None and not torch.is_grad_enabled():
            spans = self.state.last_spans  # looked at on its own, as the audit does
        if spans is None:
            raise UnsupportedModelError(f"{self.name} is run outside of its model, where its prompts are not known.")
        kernel = attention_kernel(self.config)
        check_prompt_kernel(kernel, self.name)
        if mask is None:
            if kernel == "flex":
                raise UnsupportedModelError(f"{self.name}: flex_attention got no block mask to open.")
            mask = causal_mask(spans)
            if kernel == "eager":
                dtype = self.names.get(self.names.parameters[0], args, kwargs).dtype
                mask = torch.zeros((), dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
        if isinstance(mask, Tensor) and mask.dtype != torch.bool and not mask.is_floating_point():
            raise UnsupportedModelError(f"{self.name} got an attention mask of {mask.dtype}; give bool or float.")
        if len(mask.shape) != 4 or mask.shape[-2] != spans.shape[-1] or mask.shape[-1] < mask.shape[-2]:
            raise UnsupportedModelError(
                f"{self.name} got an attention mask of shape {tuple(mask.shape)} for {spans.shape[-1]} tokens; "
                f'scope="prompt" needs (batch, heads, query_len, kv_len) with the queries\' own keys last.'
            )
        if isinstance(mask, BlockMask):
            if mask.shape[-1] != mask.shape[-2]:
                raise UnsupportedModelError(
                    f"{self.name}: a prompt that continues a cache is not available with flex_attention; use sdpa or "
                    f"eager, or generate from the whole conversation without a cache."
                )
            return open_prompts_of_block_mask(mask, spans, position_ids)
        return open_prompts(mask, spans, position_ids)


class PromptGuard(ModelGuard):
    """The forward pre-hook of every transformers model around such layers: finds out what is prompt, or refuses."""

    def check(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """The call without what only we understand, its prompts remembered."""
        given = {name: kwargs[name] for name in _OURS if kwargs.get(name) is not None}
        kwargs = {name: value for name, value in kwargs.items() if name not in _OURS}
        if not self.state.active_layers():
            return args, kwargs
        found = self._prompt_mask(given, args, kwargs)
        if found is not None:
            self.state.prompt_mask = found
        if self.is_runner:
            check_prompt_kernel(attention_kernel(self.config), self.model_name)
            self.state.begin()
            self.state.position_ids = self.names.get("position_ids", args, kwargs)
            self.state.spans = self._spans(args, kwargs)
        is_cache_unasked = all(self.names.get(name, args, kwargs) is None for name in (self.names.cache, "use_cache"))
        if is_cache_unasked and "use_cache" in self.names.parameters:
            # With a cache, transformers would not look for packed documents.
            return self.names.put("use_cache", False, args, kwargs)
        return args, kwargs

    def _prompt_mask(self, given: dict[str, Tensor], args: Args, kwargs: Kwargs) -> Tensor | None:
        """What the call itself says, the most explicit first: bool, `(batch, query_len)`."""
        if "prompt_mask" in given:
            return given["prompt_mask"].bool()
        if self.state.chosen is not None:
            return None
        if "completion_mask" in given:
            return ~given["completion_mask"].bool()
        labels = self.names.get("labels", args, kwargs) if self.generates else None
        if labels is not None:
            return self._without_padding(labels == IGNORE_INDEX, args, kwargs)
        types = self.names.get("token_type_ids", args, kwargs)
        return None if types is None else types == 0

    def _without_padding(self, prompt_mask: Tensor, args: Args, kwargs: Kwargs) -> Tensor:
        """Refuses labels that mark no prompt at all, with which training would be silently causal."""
        real = self.names.get("attention_mask", args, kwargs)
        if isinstance(real, Tensor) and real.ndim == 4:  # of packed rows, as LLaMA-Factory builds it: padding is blind
            real = is_visible(real[:, 0].diagonal(dim1=-2, dim2=-1))
        if isinstance(real, Tensor) and real.shape == prompt_mask.shape:
            prompt_mask = prompt_mask & real.bool()
        if torch.compiler.is_compiling() or self.state.has_seen_prompt:
            return prompt_mask
        # TRL, packing rows, hides the first token of each document: a single token is no prompt.
        if not (prompt_mask[:, 1:] & prompt_mask[:, :-1]).any():
            raise UnsupportedModelError(
                f'{self.model_name}: scope="prompt" knows the prompt by its labels, which are -100 there, and nowhere '
                f"in this first batch are two tokens in a row: every layer would stay causal. Take the loss of the "
                f"answers alone (TRL: completion_only_loss or assistant_only_loss, Axolotl: train_on_inputs: false), "
                f"or pass prompt_mask."
            )
        self.state.has_seen_prompt = True
        return prompt_mask

    def _spans(self, args: Args, kwargs: Kwargs) -> Tensor:
        cache = self.names.get(self.names.cache, args, kwargs)
        num_cached = self._num_cached(cache)
        tokens = self.names.get("input_ids", args, kwargs)
        if tokens is None:
            tokens = self.names.get("inputs_embeds", args, kwargs)
        batch, length = tokens.shape[:2]
        if self.state.prompt_mask is None and self.state.chosen is not None:
            self.state.prompt_mask = _part(self.state.chosen, batch, num_cached, length)
        prompt_mask = self.state.prompt_mask
        if prompt_mask is None:
            generates = cache is not None or self.names.get("use_cache", args, kwargs)
            if not generates or (num_cached and length > 1):
                raise UnsupportedModelError(self._unknown(num_cached, length))
            prompt_mask = torch.full((batch, length), not num_cached, device=tokens.device)
        if prompt_mask.shape != (batch, length):
            raise ValueError(
                f"the prompt of this forward has shape {tuple(prompt_mask.shape)}, and its tokens ({batch}, {length})."
            )
        return prompt_spans(prompt_mask.to(tokens.device))

    def _num_cached(self, cache: Any) -> int:
        if cache is None:
            return 0
        if getattr(cache, "is_compileable", False):
            raise UnsupportedModelError(
                f'{self.model_name}: scope="prompt" does not work with a static cache ({type(cache).__name__}), whose '
                f'keys are not the last ones; generate with the dynamic one (cache_implementation="dynamic").'
            )
        return int(cache.get_seq_length())

    def _unknown(self, num_cached: int, length: int) -> str:
        if num_cached:
            fact = (
                f"{length} tokens continue a cache of {num_cached}, and nothing says which of them belong to a prompt. "
                f"In a second turn the first of them usually ends an answer"
            )
        else:
            fact = (
                "nothing says which tokens are the prompt: there are neither labels nor a cache to be filled. Trainer "
                "hides the labels from the model with label_smoothing_factor and compute_loss_func: leave them out"
            )
        return (
            f'{self.model_name}: scope="prompt", and {fact}. Pass prompt_mask=(batch, query_len) to the forward, or '
            f"generate inside `with handle.prompt(prompt_mask):`."
        )


def check_prompt_kernel(kernel: Kernel, name: str) -> None:
    """Refuses kernels that take no mask.

    Raises:
        UnsupportedModelError: names the kernel.
    """
    if kernel == "flash":
        raise UnsupportedModelError(
            f'{name}: scope="prompt" is not available with flash attention, which is causal or bidirectional for a '
            f"whole row and takes no mask; use sdpa, eager or flex_attention."
        )


def _part(chosen: Tensor, batch: int, num_cached: int, length: int) -> Tensor:
    """The part of a mask of whole rows that a forward with a cache computes; what is behind its end is answer."""
    if batch % len(chosen):
        raise ValueError(f"handle.prompt was given {len(chosen)} rows, and {batch} are generated.")
    part = chosen[:, num_cached : num_cached + length]
    part = torch.nn.functional.pad(part, (0, length - part.shape[-1]))
    return part.repeat_interleave(batch // len(chosen), dim=0)
