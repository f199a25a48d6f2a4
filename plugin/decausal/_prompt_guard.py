"""The forward pre-hook of a model in scope "prompt": finds out what is prompt, or refuses."""

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ._errors import UnsupportedModelError
from ._hooks import Args, Kwargs, ModelGuard, hooks_of
from ._layers import DecoderStack, ForwardNames, attention_kernel
from ._prompt_cache import check_continued, has_agreed, mark, note_agreed, num_cached_tokens
from ._prompt_hooks import check_prompt_kernel
from ._prompt_labels import check_has_prompt, check_unseen, prompt_of_labels
from ._prompts import check_whole, part, prompt_spans
from ._state import SharedState

_OURS: Final = ("prompt_mask", "completion_mask")


class PromptGuard(ModelGuard):
    """The forward pre-hook of every transformers model around layers of scope "prompt"."""

    def __init__(self, model: PreTrainedModel, stack: DecoderStack, state: SharedState) -> None:
        super().__init__(model, model is stack.runner, state, stack.config, "symmetric")
        self.is_outermost = model is stack.model
        self.takes_token_types = any("token_type_ids" in ForwardNames.of(other).parameters for other in stack.wrappers)

    def check(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Takes prompt_mask and completion_mask out of the call, and notes what is prompt."""
        given = {name: kwargs[name] for name in _OURS if kwargs.get(name) is not None}
        kwargs = {name: value for name, value in kwargs.items() if name not in _OURS}
        if not self.state.active_layers():
            return args, kwargs
        run = self.state.run
        if self.is_outermost:
            run.prompt_mask = None  # of a forward that was interrupted, perhaps
            self._check_virtual_tokens(args, kwargs)
        found = self._told(given, args, kwargs)
        if self.writes_text:
            found = self._held_against_labels(found, args, kwargs)
        if found is not None:
            run.prompt_mask = found
        if self.is_runner:
            check_prompt_kernel(attention_kernel(self.config), self.model_name)
            self.state.begin()
            self._begin(args, kwargs)
            args, kwargs = self._own_keys(args, kwargs)
            run.position_ids = self.names.get("position_ids", args, kwargs)
        is_cache_unasked = all(self.names.get(name, args, kwargs) is None for name in (self.names.cache, "use_cache"))
        if is_cache_unasked and "use_cache" in self.names.parameters:
            # With a cache, transformers would not look for packed documents.
            return self.names.put("use_cache", False, args, kwargs)
        return args, kwargs

    def _told(self, given: dict[str, Tensor], args: Args, kwargs: Kwargs) -> Tensor | None:
        """What this call or one around it says besides labels, most explicit first: bool, `(batch, query_len)`."""
        if "prompt_mask" in given:
            return given["prompt_mask"].bool()
        if self.state.chosen is not None:
            return None
        if "completion_mask" in given:
            return ~given["completion_mask"].bool()
        if self.state.run.prompt_mask is not None:
            return self.state.run.prompt_mask  # told to the model around this one, which hands less explicit ways on
        types: Tensor | None = kwargs.get("token_type_ids")
        # To a model that takes them they mean something of its own, and tokenizers write zeros that mean nothing.
        if types is None or self.takes_token_types or not (torch.compiler.is_compiling() or types.any()):
            return None
        return types == 0

    def _held_against_labels(self, told: Tensor | None, args: Args, kwargs: Kwargs) -> Tensor | None:
        """What is told, or else what the labels say; refused where both are there and the loss would read ahead."""
        labels, shifted = self.names.get("labels", args, kwargs), kwargs.get("shift_labels")
        if labels is None and shifted is None:
            return told
        prompt_mask = told
        if prompt_mask is None and self.state.chosen is not None:
            batch, length = self._tokens(args, kwargs).shape[:2]
            prompt_mask = part(self.state.chosen, batch, length, self._num_cached(args, kwargs))
        if prompt_mask is not None:
            check_unseen(prompt_mask, labels, shifted, self.model_name)
            return told
        if labels is None:
            return None
        prompt_mask = prompt_of_labels(labels, self.names.get("attention_mask", args, kwargs))
        if not self.state.has_seen_prompt:
            check_has_prompt(prompt_mask, labels, self.model_name)
            self.state.has_seen_prompt = True
        return prompt_mask

    def _tokens(self, args: Args, kwargs: Kwargs) -> Tensor:
        """Ids or embeddings, `(batch, query_len, ...)`."""
        ids: Tensor | None = self.names.get("input_ids", args, kwargs)
        embeddings: Tensor | None = self.names.get("inputs_embeds", args, kwargs)
        tokens = ids if embeddings is None else embeddings
        if tokens is None:
            raise ValueError(f"{self.model_name} was given neither input_ids nor inputs_embeds.")
        return tokens

    def _cache(self, args: Args, kwargs: Kwargs) -> Any:
        return self.names.get(self.names.cache, args, kwargs)

    def _num_cached(self, args: Args, kwargs: Kwargs) -> int:
        return num_cached_tokens(self._cache(args, kwargs), self.model_name)

    def _begin(self, args: Args, kwargs: Kwargs) -> None:
        """Notes for the layers where the prompts are, and for `end_prompt_forward` what to note on the cache."""
        run, num_cached = self.state.run, self._num_cached(args, kwargs)
        length = self._tokens(args, kwargs).shape[1]
        whole = self._whole_rows(num_cached, length) if run.prompt_mask is None else None
        num_given = 1 if whole is None else whole.shape[-1]
        is_decoding = run.prompt_mask is None and length == 1 and num_cached >= num_given
        prompt_mask = self._prompts_of_forward(whole, is_decoding, args, kwargs)
        if not torch.compiler.is_compiling():
            if whole is not None:
                check_whole(whole, num_cached + length, self.model_name)
            self._check_cached(prompt_mask, whole, is_decoding, args, kwargs)
        run.spans = prompt_spans(prompt_mask)
        run.noted, run.num_cached = None if is_decoding else prompt_mask, num_cached

    def _prompts_of_forward(self, whole: Tensor | None, is_decoding: bool, args: Args, kwargs: Kwargs) -> Tensor:
        """Which of the tokens are prompt, as told for this forward, or for whole rows: bool, `(batch, query_len)`."""
        cache, num_cached = self._cache(args, kwargs), self._num_cached(args, kwargs)
        tokens = self._tokens(args, kwargs)
        batch, length = tokens.shape[:2]
        prompt_mask = self.state.run.prompt_mask
        if whole is not None:
            prompt_mask = part(whole, batch, length, num_cached)
        elif prompt_mask is None:
            is_generating = cache is not None or (
                self.names.get("use_cache", args, kwargs) and not torch.is_grad_enabled()
            )
            if not is_generating or (num_cached and not is_decoding):
                raise UnsupportedModelError(self._unknown(num_cached, length))
            prompt_mask = torch.full((batch, length), not num_cached, device=tokens.device)
        if prompt_mask.shape != (batch, length):
            raise ValueError(
                f"the prompt of this forward has shape {tuple(prompt_mask.shape)}, and its tokens ({batch}, {length})."
            )
        return prompt_mask.to(tokens.device)

    def _check_cached(
        self, prompt_mask: Tensor, whole: Tensor | None, is_decoding: bool, args: Args, kwargs: Kwargs
    ) -> None:
        """Refuses a cache that cannot be gone on from; while decoding, only until it has agreed with `whole`."""
        cache, num_cached = self._cache(args, kwargs), self._num_cached(args, kwargs)
        if not num_cached or (is_decoding and (whole is None or has_agreed(cache, whole))):
            return
        check_continued(
            cache,
            num_cached,
            prompts_now=prompt_mask,
            prompts_before=None if whole is None else part(whole, len(prompt_mask), num_cached, 0),
            padding_mask=self.names.get("attention_mask", args, kwargs),
            name=self.model_name,
        )
        if whole is not None:
            note_agreed(cache, whole)

    def _whole_rows(self, num_cached: int, length: int) -> Tensor | None:
        """What `Handle.prompt`, or else `generate`, says of whole rows."""
        if self.state.chosen is not None:
            return self.state.chosen
        generated = self.state.run.generated
        if generated is not None and generated.prompt_mask is None:
            raise UnsupportedModelError(self._unknown(num_cached, length))
        return None if generated is None else generated.prompt_mask

    def _unknown(self, num_cached: int, length: int) -> str:
        if num_cached:
            fact = (
                f"{length} tokens continue a cache of {num_cached}, and nothing says which of them belong to a prompt. "
                f"In a second turn the first of them usually ends an answer"
            )
        else:
            fact = (
                "nothing says which tokens are the prompt: there are neither labels nor a cache to be filled (one that "
                "is asked for while gradients are recorded does not count). Trainer hides the labels from the model "
                "with label_smoothing_factor and compute_loss_func: leave them out"
            )
        return (
            f'{self.model_name}: scope="prompt", and {fact}. Pass prompt_mask=(batch, query_len) to the forward, or '
            f"generate inside `with handle.prompt(prompt_mask):`."
        )

    def _check_virtual_tokens(self, args: Args, kwargs: Kwargs) -> None:
        """Refuses what prompt tuning does: embeddings where `generate` was given ids, with more in front of them."""
        generated = self.state.run.generated
        if generated is None or not generated.is_ids or self.names.get("input_ids", args, kwargs) is not None:
            return
        length = self._tokens(args, kwargs).shape[1]
        if self.state.chosen is not None and self.state.chosen.shape[-1] >= length:
            return
        raise UnsupportedModelError(
            f"{self.model_name}: generate was given token ids, and its first forward has {length} embeddings, as with "
            f"the virtual tokens of prompt tuning. Generate inside `with handle.prompt(prompt_mask):`, with a mask "
            f"that includes them."
        )

    def _own_keys(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The call with tensors that no other forward has: by them, checkpointing finds this forward's masks again."""
        for name in ("position_ids", "attention_mask"):
            value = self.names.get(name, args, kwargs)
            if isinstance(value, Tensor) and (name == "position_ids" or value.ndim == 4):
                args, kwargs = self.names.put(name, value.view_as(value), args, kwargs)
        return args, kwargs


def end_prompt_forward(model: nn.Module, args: Args, kwargs: Kwargs, output: object) -> None:
    """The forward hook of the model that runs the layers: notes on the cache what it was filled with."""
    for guard in hooks_of(model, PromptGuard):
        run = guard.state.run
        if run.noted is not None:
            cache = guard.names.get(guard.names.cache, args, kwargs)
            mark(getattr(output, "past_key_values", None) if cache is None else cache, run.noted, run.num_cached)
            run.noted = None
