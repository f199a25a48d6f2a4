"""The contract with ms-swift: what it is told by, what is refused, and where it loads and answers."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

import decausal
from decausal.cli import app
from decausal.hosts._ms_swift_limits import REFUSED, keep_prompt_labels, refuse_settings
from decausal.hosts.ms_swift import HOST, load_model, read_wanted, refuse_earlier_answers

ROOT = Path(__file__).resolve().parents[2]


def arguments(**settings):
    return SimpleNamespace(**{"model": "base", "adapters": [], "task_type": "causal_lm", **settings})


def engine(model, strategy="default"):
    return SimpleNamespace(model=model, template=SimpleNamespace(loss_scale=SimpleNamespace(base_strategy=strategy)))


def request(*roles):
    return SimpleNamespace(messages=[{"role": role, "content": "a"} for role in roles])


def test_the_file_is_printed_that_the_recipe_names():
    printed = CliRunner().invoke(app, ["path", "ms-swift"]).output.strip()
    recipe = yaml.safe_load((ROOT / "recipes/hosts/ms-swift/smollm2-135m_ner.yaml").read_text(encoding="utf-8"))
    [named] = recipe["external_plugins"]
    assert Path(printed).is_file()
    assert (ROOT / named).read_text(encoding="utf-8") == Path(printed).read_text(encoding="utf-8")
    assert read_wanted(recipe["ENV"]).unmask == "1111"


def test_nothing_else_stands_in_the_directory_that_comes_in_front_of_the_path():
    [file] = (ROOT / "plugin/decausal/hosts/external").glob("*.py")
    assert file.name == "decausal_ms_swift.py"


def test_an_unknown_host_is_refused_with_those_that_have_a_file():
    result = CliRunner().invoke(app, ["path", "swift"])
    assert str(result.exception) == "swift: there is no plugin file for it; there are those of ms-swift."


def test_the_variables_say_what_is_wanted():
    wanted = read_wanted({"DECAUSAL_UNMASK": "0011", "DECAUSAL_SCOPE": "prompt", "HOME": "/root"})
    assert (wanted.unmask, wanted.scope, wanted.host) == ("0011", "prompt", HOST)
    assert (read_wanted({}).unmask, read_wanted({}).scope) == (None, None)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"DECAUSAL_UNMSK": "0011"},
            "DECAUSAL_UNMSK: there is no such variable; those of decausal are DECAUSAL_UNMASK and",
        ),
        ({"DECAUSAL_UNMASK": "0011", "DECAUSAL_SCOP": "all"}, "DECAUSAL_SCOP: there is no such variable"),
        ({"DECAUSAL_UNMASK": "0011", "DECAUSAL_SCOPE": "answer"}, "scope='answer': write all or prompt"),
        ({"DECAUSAL_SCOPE": "prompt"}, 'DECAUSAL_SCOPE="prompt" says nothing without DECAUSAL_UNMASK'),
        ({"DECAUSAL_UNMASK": ""}, "is no layer"),
    ],
)
def test_variables_that_say_nothing_are_refused(variables, message):
    with pytest.raises(ValueError, match=message):
        read_wanted(variables)


def test_a_pattern_without_quotes_is_refused_though_the_variable_is_text(tmp_path):
    path = tmp_path / "sft.yaml"
    path.write_text("ENV: {DECAUSAL_UNMASK: 0001}", encoding="utf-8")
    with pytest.raises(TypeError, match="in quotes"):
        read_wanted({"DECAUSAL_UNMASK": "1", "SWIFT_CONFIG_FILE": str(path)})
    path.write_text('ENV: {DECAUSAL_UNMASK: "0001"}', encoding="utf-8")
    assert read_wanted({"DECAUSAL_UNMASK": "0001", "SWIFT_CONFIG_FILE": str(path)}).unmask == "0001"
    assert read_wanted({"DECAUSAL_UNMASK": "1", "SWIFT_CONFIG_FILE": str(path)}).unmask == "1"  # the shell's own


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_parallel_size", 2),
        ("packing", True),
        ("padding_free", True),
        ("tuner_backend", "unsloth"),
        ("tuner_type", "longlora"),
        ("tuner_type", "llamapro"),
        ("infer_backend", "vllm"),
        ("rlhf_type", "dpo"),
    ],
)
def test_what_would_not_be_exact_is_refused_by_name(name, value):
    with pytest.raises(decausal.UnsupportedModelError, match=f"ms-swift: {name}={value}: .*; (use|set) "):
        refuse_settings(arguments(**{name: value}))


def test_ordinary_settings_are_accepted():
    ordinary = {"sequence_parallel_size": 1, "packing": False, "tuner_type": "lora", "infer_backend": "transformers"}
    assert ordinary.keys() < {name for name, _, _ in REFUSED}
    assert not [name for name, is_refused, _ in REFUSED if is_refused(ordinary.get(name))]


def test_the_labels_of_the_prompt_are_kept(capsys):
    training = SimpleNamespace(use_logits_to_keep=None)
    keep_prompt_labels(arguments(training_args=training))
    assert training.use_logits_to_keep is False
    assert "use_logits_to_keep is off" in capsys.readouterr().out
    with pytest.raises(decausal.UnsupportedModelError, match="use_logits_to_keep=True cuts the labels"):
        keep_prompt_labels(arguments(training_args=SimpleNamespace(use_logits_to_keep=True)))


def test_a_model_of_which_nothing_says_what_to_unmask_is_refused(llama):
    wanted = read_wanted({})
    with pytest.raises(ValueError, match="DECAUSAL_UNMASK is not set, and base records no pattern"):
        load_model(wanted, lambda args: (llama(), None), arguments())


def test_an_adapter_is_joined_by_what_it_records(llama, tmp_path, capsys):
    trained = llama()
    decausal.unmask(trained, "0011", scope="prompt")
    trained.config.save_pretrained(tmp_path)
    model, _ = load_model(read_wanted({}), lambda args: (llama(), None), arguments(adapters=[str(tmp_path)]))
    assert decausal.unmasked_layers(model) == (2, 3)
    assert "joined ms-swift" in capsys.readouterr().out


def test_another_pattern_than_that_of_an_adapter_is_refused(llama, tmp_path):
    trained = llama()
    decausal.unmask(trained, "0011", scope="prompt")
    trained.config.save_pretrained(tmp_path)
    with pytest.raises(decausal.CheckpointError, match=r'saved with unmask="0011".*asks for unmask="1100"'):
        load_model(
            read_wanted({"DECAUSAL_UNMASK": "1100"}), lambda args: (llama(), None), arguments(adapters=[str(tmp_path)])
        )


def test_an_earlier_answer_is_refused_unless_it_was_a_part_of_the_prompt(llama):
    model = llama()
    decausal.unmask(model, "0011", scope="prompt")
    for asked in (request("user", "assistant", "user"), {"messages": request("user", "tool_call", "tool").messages}):
        with pytest.raises(decausal.UnsupportedModelError, match=r"earlier answer.*loss_scale=last_round"):
            refuse_earlier_answers(lambda *_: "text", engine(model), [asked])
        assert refuse_earlier_answers(lambda *_: "text", engine(model, "last_round"), [asked]) == "text"
    assert refuse_earlier_answers(lambda *_: "text", engine(model), [request("system", "user")]) == "text"
    assert refuse_earlier_answers(lambda *_: "text", engine(llama()), [request("user", "assistant", "user")]) == "text"


SCRIPT = """
import sys
from swift.arguments import BaseArguments
from swift.infer_engine import TransformersEngine
from swift.utils import import_external_file
from transformers import PreTrainedModel

seams = lambda: (BaseArguments.get_model_processor, TransformersEngine._infer, PreTrainedModel.from_pretrained.__func__)
before = seams()
import_external_file(sys.argv[1])
once = seams()
import_external_file(sys.argv[2])
assert all(new is not old and new.__wrapped__ is old for new, old in zip(once, before, strict=True))
assert seams() == once
print("joined once")
"""


@pytest.mark.host
def test_settings_that_are_refused_still_have_these_names():
    pytest.importorskip("swift", reason="needs ms-swift, in an environment of its own: scripts/test_hosts.sh ms-swift")
    from swift.arguments import InferArguments, RLHFArguments
    from swift.trainers import Seq2SeqTrainingArguments

    known = {field.name for arguments in (RLHFArguments, InferArguments) for field in fields(arguments)}
    assert {name for name, _, _ in REFUSED} <= known
    assert "use_logits_to_keep" in {field.name for field in fields(Seq2SeqTrainingArguments)}


@pytest.mark.host
def test_the_file_joins_once_however_often_it_is_given(tmp_path):
    pytest.importorskip("swift", reason="needs ms-swift, in an environment of its own: scripts/test_hosts.sh ms-swift")
    printed = CliRunner().invoke(app, ["path", "ms-swift"]).output.strip()
    second = tmp_path / "second_plugin.py"
    second.write_text(Path(printed).read_text(encoding="utf-8"), encoding="utf-8")
    environment = {**os.environ, "DECAUSAL_UNMASK": "0011"}
    script = [sys.executable, "-c", SCRIPT, printed, str(second)]
    done = subprocess.run(script, env=environment, check=False, capture_output=True, text=True, timeout=240)
    assert done.stdout.endswith("joined once\n"), done.stderr
