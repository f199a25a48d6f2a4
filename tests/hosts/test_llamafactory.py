"""The contract with LLaMA-Factory: what it reads, and what the settings that we refuse are called there."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("llamafactory", reason="needs LLaMA-Factory, in an environment of its own: scripts/test_hosts.sh")
from llamafactory.hparams import read_args
from llamafactory.hparams.parser import _TRAIN_ARGS
from llamafactory.train.tuner import export_model, run_exp

from decausal.hosts._llamafactory_limits import SETTINGS, STAGES
from decausal.hosts.llamafactory import read

pytestmark = pytest.mark.host  # so that scripts/test_hosts.sh runs it
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "hosts" / "llamafactory" / "smollm2-135m_ner.yaml"


def test_a_configuration_is_read_as_llamafactory_reads_it(monkeypatch):
    overrides = ["learning_rate=1e-4", "lora_target=q_proj,v_proj", "resume_from_checkpoint=null", "bf16=false"]
    monkeypatch.setattr("sys.argv", ["llamafactory", str(RECIPE), *overrides])
    assert read(RECIPE, overrides) == read_args()


def test_a_pattern_on_the_command_line_is_text():
    assert read(RECIPE, ["decausal.unmask=0011"])["decausal"] == {"unmask": "0011", "scope": "prompt"}
    assert read(RECIPE, ['decausal.unmask="0,3,-1"'])["decausal"]["unmask"] == "0,3,-1"


def test_settings_that_are_refused_still_have_these_names():
    known = {field.name: field for arguments in _TRAIN_ARGS for field in fields(arguments)}
    assert SETTINGS.keys() <= known.keys()
    assert STAGES.keys() < {"pt", "sft", "rm", "ppo", "dpo", "kto"} == set(known["stage"].type.__args__)


def test_the_functions_that_are_called_take_what_they_are_given():
    assert list(inspect.signature(run_exp).parameters) == ["args", "callbacks"]
    assert list(inspect.signature(export_model).parameters) == ["args"]
