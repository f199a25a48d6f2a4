"""Scope "prompt" in the layers: what is prompt sees both sides, answers stay causal."""

import copy

import pytest
import torch

import decausal
from prompted import IDS, KERNELS, LABELS, PROMPT, moved


def test_no_turn_sees_a_later_answer_and_every_answer_sees_all_before_it(prefix_lm):
    model, _ = prefix_lm()
    turns = torch.tensor([[1] * 4 + [0] * 4 + [1] * 4 + [0] * 4])
    assert moved(model, 5, prompt_mask=turns) == list(range(5, 16))
    assert moved(model, 11, prompt_mask=turns) == list(range(8, 16))
    assert moved(model, 3, prompt_mask=turns) == list(range(16))


@KERNELS
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(prefix_lm, attn_implementation, side):
    model, _ = prefix_lm(attn_implementation)
    padding = (3, 0) if side == "left" else (0, 3)
    ids, real, labels = (
        torch.nn.functional.pad(tensor, padding, value=value)
        for tensor, value in ((IDS, 1), (torch.ones_like(IDS), 0), (LABELS, -100))
    )
    positions = (real.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        padded = model(ids, attention_mask=real, position_ids=positions, labels=labels).logits[real.bool()]
        assert torch.allclose(padded, model(IDS, labels=LABELS).logits[0], atol=2e-5)


@KERNELS
def test_packed_rows_are_separate_ones(prefix_lm, attn_implementation):
    model, _ = prefix_lm(attn_implementation)
    other, other_prompt = IDS.flip(-1), PROMPT.roll(2, -1) | PROMPT
    positions = torch.arange(16).repeat(2)[None]
    with torch.no_grad():
        packed = model(
            torch.cat([IDS, other], -1), position_ids=positions, prompt_mask=torch.cat([PROMPT, other_prompt], -1)
        ).logits
        alone = [model(ids, prompt_mask=mask).logits for ids, mask in ((IDS, PROMPT), (other, other_prompt))]
    assert torch.allclose(packed, torch.cat(alone, 1), atol=2e-5)


# transformers 5.23 builds its block masks with an argument that torch 2.13 calls deprecated, and compiles for the CPU.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
# All layers are open: torch 2.13 writes C++ that does not compile when a second kind of mask follows on a CPU.
def test_flex_attention_agrees_with_eager(prefix_lm):
    torch.compiler.reset()
    with torch.no_grad():
        flex, eager = (prefix_lm(name, "1111")[0](IDS, labels=LABELS).logits for name in ("flex_attention", "eager"))
    assert torch.allclose(flex, eager, atol=2e-5)


def test_the_compiled_model_agrees(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        expected = model(IDS, labels=LABELS).logits
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(IDS, labels=LABELS).logits
    assert torch.allclose(compiled, expected, atol=2e-5)


@KERNELS
def test_removed_or_paused_the_model_is_what_it_was(llama, attn_implementation):
    model = llama(attn_implementation)
    with torch.no_grad():
        before = model(IDS).logits
        handle = decausal.unmask(model, "all", scope="prompt")
        assert not torch.allclose(model(IDS, prompt_mask=PROMPT).logits, before)
        with handle.paused():
            assert torch.equal(model(IDS).logits, before)
        handle.remove()
        assert torch.equal(model(IDS).logits, before)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_copy_opens_prompts_too(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(IDS, labels=LABELS).logits, model(IDS, labels=LABELS).logits)


def test_a_layer_is_not_run_past_its_model(prefix_lm):
    model, _ = prefix_lm()
    with torch.no_grad():
        model(IDS, prompt_mask=PROMPT)
        with pytest.raises(decausal.UnsupportedModelError, match="run outside of its model"):
            type(model.model).forward(model.model, input_ids=IDS, use_cache=False)


def test_flash_attention_is_refused(llama):
    model = llama("sdpa")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(decausal.UnsupportedModelError, match=r'scope="prompt" is not available with flash attention'):
        decausal.unmask(model, "all", scope="prompt")


def test_a_model_has_one_scope(prefix_lm):
    model, _ = prefix_lm()
    with pytest.raises(ValueError, match="layer 1 is already unmasked with scope='prompt'"):
        decausal.unmask(model, "1000")


def test_a_lifted_window_is_refused(llama):
    with pytest.raises(ValueError, match='window="full" with scope="prompt"'):
        decausal.unmask(llama(), "all", scope="prompt", window="full")
