"""PEFT before 0.21 calls the `forward` of the model inside it, past its hooks; the guard is heard all the same."""

import copy
import inspect

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTuner

import decausal
from decausal import _hooks

IDS = torch.arange(16)[None] * 5 % 29 + 3
LABELS = IDS.masked_fill(torch.arange(16)[None] < 9, -100)


@pytest.fixture
def adapted(llama, monkeypatch):
    """A random Llama, unmasked, inside a LoRA whose forward is that of PEFT 0.20."""

    def build(scope: str, adapter_first: bool = False):
        monkeypatch.setattr(_hooks, "peft_passes_hooks_by", lambda: True)
        monkeypatch.setattr(BaseTuner, "forward", lambda self, *args, **kwargs: self.model.forward(*args, **kwargs))
        lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
        model = get_peft_model(llama("sdpa"), lora) if adapter_first else llama("sdpa")
        handle = decausal.unmask(model, "0110", scope=scope)
        return (model if adapter_first else get_peft_model(model, lora)), handle

    return build


@pytest.mark.parametrize("adapter_first", [True, False])
def test_a_causal_lm_loss_is_refused(adapted, adapter_first):
    model, _ = adapted("all", adapter_first)
    with pytest.raises(decausal.UnsupportedModelError, match="was given labels"):
        model(IDS, labels=IDS)
    with pytest.raises(decausal.UnsupportedModelError, match="was given labels"):
        copy.deepcopy(model)(IDS, labels=IDS)


@pytest.mark.parametrize("adapter_first", [True, False])
def test_prompts_are_found(adapted, adapter_first):
    model, _ = adapted("prompt", adapter_first)
    with torch.no_grad():
        told = model(IDS, prompt_mask=LABELS == -100).logits
        assert torch.equal(model(IDS, labels=LABELS).logits, told)
        assert torch.equal(copy.deepcopy(model)(IDS, labels=LABELS).logits, told)


def test_the_model_still_tells_what_it_takes(adapted):
    model, _ = adapted("prompt")
    assert "labels" in inspect.signature(model.get_base_model().forward).parameters


def test_removed_the_model_has_its_own_forward(adapted):
    model, handle = adapted("all", adapter_first=True)
    handle.remove()
    assert "forward" not in model.get_base_model().__dict__
    assert torch.isfinite(model(IDS, labels=IDS).loss)


@pytest.mark.parametrize("goes_through_peft", [True, False])
def test_an_interrupted_forward_leaves_nothing_behind(adapted, goes_through_peft):
    model, _ = adapted("prompt")
    called = model if goes_through_peft else model.get_base_model()

    def interrupt(*_):
        raise KeyboardInterrupt

    hook = model.get_base_model().model.layers[3].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        called(IDS, prompt_mask=LABELS == -100)
    hook.remove()
    with pytest.raises(decausal.UnsupportedModelError, match="nothing says which tokens are the prompt"):
        called(IDS)
