"""What LLaMA-Factory's adapter reads and refuses, as far as it needs no LLaMA-Factory."""

from pathlib import Path

import pytest
import yaml
from transformers import TrainerCallback

import decausal
from decausal.hosts import llamafactory
from decausal.hosts._llamafactory_limits import SETTINGS, refuse_settings
from decausal.hosts._wanted import Wanted
from decausal.hosts.llamafactory import HOST, RefuseCausal, take_block

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "hosts" / "llamafactory" / "smollm2-135m_ner.yaml"
WANTED = Wanted("0011", "prompt", HOST)


def take(text, is_needed=True):
    return take_block(yaml.safe_load(text), is_needed)


def test_the_block_is_taken_out_and_nothing_else():
    config = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    others = {**config}
    assert take_block(config, is_needed=True) == Wanted("1111", "prompt", HOST)
    assert others.pop("decausal") == {"unmask": "1111", "scope": "prompt"}
    assert config == others


def test_the_scope_may_be_left_out():
    assert take('decausal: {unmask: "0011"}') == Wanted("0011", None, HOST)


def test_without_a_block_training_is_refused_and_a_checkpoint_decides_elsewhere():
    with pytest.raises(ValueError, match=r'no block .* add decausal: \{unmask: "0011"\}'):
        take("stage: sft")
    assert take("stage: sft", is_needed=False) == Wanted(None, None, HOST)


def test_an_unquoted_pattern_is_refused_with_the_quoted_form():
    with pytest.raises(TypeError, match=r'unmask=9 .* unmask: "0011"'):
        take("decausal: {unmask: 0011}")


@pytest.mark.parametrize("block", ['{unmaks: "0011"}', '{unmask: "0011", layers: "3"}', '"0011"', "{scope: prompt}"])
def test_a_block_that_is_not_understood_is_refused(block):
    with pytest.raises(ValueError, match="unmask has to be there, scope may be, and nothing else"):
        take(f"decausal: {block}")


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="scope='prompts': write all or prompt"):
        take('decausal: {unmask: "0011", scope: prompts}')


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"stage": "pt"}, "stage: pt: every token is asked for the next one"),
        ({"stage": "rm"}, "stage: rm: a reward model is given no labels"),
        ({"stage": "dpo"}, "stage: dpo: the loss is taken outside"),
        ({"train_on_prompt": True}, "train_on_prompt: True: the prompt is an answer too"),
        ({"shift_attn": True}, "shift_attn: True: attention in shifted groups"),
        ({"mixture_of_depths": "convert"}, "mixture_of_depths: convert: "),
        ({"use_unsloth": True}, "use_unsloth: True: unsloth replaces"),
        ({"use_kt": True}, "use_kt: True: KTransformers"),
        ({"use_hyper_parallel": True}, "use_hyper_parallel: True: "),
        ({"use_asft_loss": True}, "use_asft_loss: True: the loss is taken outside"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: 0.1: the loss is taken outside"),
    ],
)
def test_settings_that_would_leave_us_out_are_refused(config, message):
    with pytest.raises(decausal.UnsupportedModelError, match=message):
        refuse_settings({"stage": "sft", **config}, {})


@pytest.mark.parametrize("name", ["FORCE_TORCHRUN", "USE_RAY", "USE_KT", "USE_MCA", "USE_V1"])
def test_another_process_or_program_that_would_train_is_refused(name):
    with pytest.raises(decausal.UnsupportedModelError, match=f"{name}=1 in the environment"):
        refuse_settings({}, {name: "1"})


def test_an_ordinary_run_is_not_refused():
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    assert not recipe.keys() & SETTINGS.keys()
    assert refuse_settings(recipe, {"FORCE_TORCHRUN": "1", "RANK": "0", "USE_V1": "0"}) is None


def test_chatting_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr("sys.argv", ["llamafactory", "chat", "cfg.yaml"])
    with pytest.raises(SystemExit, match=r"usage: .* \[train \| export\] CONFIG\.yaml.*\nTo chat, .* decausal\.load"):
        llamafactory.main()


def test_a_causal_model_in_the_trainer_is_refused(llama):
    assert isinstance(RefuseCausal(), TrainerCallback)
    model = llama()
    with pytest.raises(decausal.UnsupportedModelError, match="no layer of LlamaForCausalLM is unmasked"):
        RefuseCausal().on_init_end(None, None, None, model=model)
    decausal.unmask(model, "0011", scope="prompt")
    RefuseCausal().on_init_end(None, None, None, model=model)
