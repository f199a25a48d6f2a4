"""The forward pre-hook of a layer in scope "prompt": opens its mask among the tokens of each prompt."""

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from ._errors import UnsupportedModelError
from ._hooks import Args, Kwargs, OpenLayer
from ._layers import Kernel, attention_kernel
from ._masks import AttentionMask, Scope
from ._prompts import causal_mask, open_prompts, open_prompts_of_block_mask, says_hidden


class OpenPrompts(OpenLayer):
    """The forward pre-hook of a layer in which the tokens of each prompt see both sides."""

    scope: Scope = "prompt"

    def open(self) -> None:
        """Leave the attention modules as they are: the mask says it all, and a cached answer is causal."""

    def close(self) -> None:
        """Nothing to put back."""

    def __call__(self, layer: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        spans = self.state.run.spans
        if spans is not None and spans.shape[-1] == 1:
            return None  # a single token, such as the next one of an answer, has nothing to its right
        return super().__call__(layer, args, kwargs)

    def _check_cache(self, args: Args, kwargs: Kwargs) -> None:
        """Cached tokens are left of those that come now, and saw all that they may see."""

    def _open(self, mask: AttentionMask, position_ids: Tensor | None, args: Args, kwargs: Kwargs) -> AttentionMask:
        spans = self.state.run.spans
        if spans is None and self.state.is_replaying:
            spans = self.state.run.last_spans
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
        if kernel == "eager" and mask.dtype == torch.bool:  # not transformers' own, but made from it by the model
            is_inverted = says_hidden(mask)
            return open_prompts(mask ^ is_inverted, spans, position_ids) ^ is_inverted
        return open_prompts(mask, spans, position_ids)


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
