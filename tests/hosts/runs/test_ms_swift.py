"""ms-swift 4.6: its own command lines on the recipe, with the plugin and without."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from hosts_runs import ROOT

pytest.importorskip("swift", reason="needs ms-swift: bash scripts/test_hosts.sh ms-swift")
pytestmark = pytest.mark.host
HERE = Path(__file__).resolve().parent
RECIPE = ROOT / "recipes" / "hosts" / "ms-swift" / "smollm2-135m_ner.yaml"
TURNS = [
    ("Once upon a time there was a dog", "The dog was big and happy ."),
    ("Lily saw a cat in the park", "She was very happy ."),
    ("One day a boy named Tim went to the park", "He saw a big red ball ."),
    ("The sun was hot", "They went home to play ."),
]
PATTERNS = {"stories": "00111", "smollm2": "0011"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def messages(*turns):
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def without_plugin(directory):
    settings = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    assert settings.pop("external_plugins")
    assert settings.pop("ENV")
    path = directory / "causal.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def logged_losses(directory):
    lines = (directory / "logging.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def last_json(output):
    return json.loads(output.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rows = [{"messages": messages(turn)} for turn in TURNS]
    return write(tmp_path_factory.mktemp("data") / "train.jsonl", rows)


@pytest.fixture
def swift(command, data, monkeypatch):
    """Runs the recipe, or another, for a few steps of all rows."""
    monkeypatch.chdir(ROOT)  # where the recipe is right about its plugin file

    def run(model, output_dir, *more, recipe=RECIPE, steps=1, fails=False, **environment):
        paths = ("--model", model, "--dataset", data, "--output_dir", output_dir)
        rows = ("--per_device_train_batch_size", "4", "--max_steps", steps)
        fixed = ("--torch_dtype", "float32", "--logging_steps", "1")
        return command("swift", "sft", recipe, *paths, *rows, *fixed, *more, fails=fails, **environment)

    return run


@pytest.fixture
def infer(command, data):
    def run(model, *more, fails=False, **environment):
        path = model.parent / f"{model.name}.answers.jsonl"
        path.unlink(missing_ok=True)
        kind = "--adapters" if (model / "adapter_config.json").is_file() else "--model"
        asked = ["--use_hf", "true", "--stream", "false", "--temperature", "0", "--max_new_tokens", "12"]
        files = ("--val_dataset", data, "--result_path", path)
        output = command("swift", "infer", kind, model, *files, *asked, *more, fails=fails, **environment)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return output, [json.loads(line)["response"] for line in lines]

    return run


@pytest.mark.parametrize("name", ["stories", "smollm2"])
def test_one_yaml_trains_and_answers_with_and_without_the_plugin(request, swift, infer, command, data, tmp_path, name):
    model, pattern = request.getfixturevalue(name), PATTERNS[name]
    on, off = tmp_path / "on", tmp_path / "off"
    joined = f'joined ms-swift: LlamaForCausalLM, unmask="{pattern}", scope="prompt"'

    output = swift(model, on, "--learning_rate", "1e-3", steps=3, DECAUSAL_UNMASK=pattern)
    assert joined in output
    output = swift(model, off, "--learning_rate", "1e-3", steps=3, recipe=without_plugin(tmp_path))
    assert "decausal: " not in output

    expected = last_json(command(sys.executable, HERE / "ms_swift_reference.py", "losses", model, data, pattern))
    assert logged_losses(on)[0] == pytest.approx(expected["unmasked"], abs=1e-4)
    assert logged_losses(off)[0] == pytest.approx(expected["causal"], abs=1e-4)
    assert abs(logged_losses(on)[0] - logged_losses(off)[0]) > 1e-3

    adapter = on / "checkpoint-3"
    assert "audit passed" in command("decausal", "audit", adapter, "--unmask", pattern)
    assert "records no pattern: its run was causal" in command("decausal", "audit", off / "checkpoint-3", fails=True)

    output, answers = infer(adapter)  # no variable: the pattern is read from the checkpoint
    assert joined in output
    expected = last_json(command(sys.executable, HERE / "ms_swift_reference.py", "answers", adapter, data, 12))
    assert answers == expected["unmasked"]
    assert answers != expected["causal"]


def test_a_merged_checkpoint_answers_as_its_adapter_does(swift, infer, command, stories, tmp_path):
    swift(stories, tmp_path / "run", "--learning_rate", "1e-3", steps=3, DECAUSAL_UNMASK="00111")
    adapter, merged = tmp_path / "run" / "checkpoint-3", tmp_path / "merged"
    export = ("--merge_lora", "true", "--output_dir", merged, "--use_hf", "true")
    assert "joined ms-swift" in command("swift", "export", "--adapters", adapter, *export)
    assert "audit passed" in command("decausal", "audit", merged, "--unmask", "00111")
    output, answers = infer(merged)
    assert "joined ms-swift" in output
    assert answers == infer(adapter)[1]


def test_a_run_goes_on_with_its_own_pattern_only(swift, stories, tmp_path):
    swift(stories, tmp_path / "run", DECAUSAL_UNMASK="00111")
    more = ("--resume_from_checkpoint", tmp_path / "run" / "checkpoint-1")
    swift(stories, tmp_path / "whole", steps=2, DECAUSAL_UNMASK="00111")
    swift(stories, tmp_path / "resumed", *more, steps=2, DECAUSAL_UNMASK="00111")
    assert logged_losses(tmp_path / "resumed")[-1] == pytest.approx(logged_losses(tmp_path / "whole")[-1], abs=1e-3)
    output = swift(stories, tmp_path / "other", *more, steps=2, fails=True, DECAUSAL_UNMASK="11100")
    assert 'was saved with unmask="00111"' in output


def test_the_whole_model_trains_and_answers_unmasked(swift, infer, stories, tmp_path):
    swift(stories, tmp_path / "run", "--tuner_type", "full", DECAUSAL_UNMASK="00111")
    assert 'unmask="00111", scope="prompt"' in infer(tmp_path / "run" / "checkpoint-1")[0]


def test_every_process_joins(swift, stories, tmp_path):
    more = ("--per_device_train_batch_size", "2")
    output = swift(stories, tmp_path / "run", *more, NPROC_PER_NODE="2", DECAUSAL_UNMASK="00111")
    assert "decausal: rank 0: joined ms-swift" in output
    assert "decausal: rank 1: joined ms-swift" in output


def test_quantized_weights_train_unmasked(swift, command, stories, tmp_path):
    more = ("--quant_method", "bnb", "--quant_bits", "4", "--bnb_4bit_compute_dtype", "float32")
    assert "joined ms-swift" in swift(stories, tmp_path / "run", *more, DECAUSAL_UNMASK="00111")
    assert "audit passed" in command("decausal", "audit", tmp_path / "run" / "checkpoint-1", "--unmask", "00111")


def test_a_classifier_is_unmasked_for_every_token(swift, infer, command, stories, tmp_path):
    rows = [{"messages": messages(turn)[:1], "label": label} for label, turn in enumerate(TURNS[:2])]
    data = write(tmp_path / "labelled.jsonl", rows)
    more = ("--task_type", "seq_cls", "--num_labels", "2", "--dataset", data)
    environment = {"DECAUSAL_UNMASK": "00111", "DECAUSAL_SCOPE": "all"}
    joined = 'LlamaForSequenceClassification, unmask="00111", scope="all"'
    assert joined in swift(stories, tmp_path / "run", *more, **environment)
    adapter = tmp_path / "run" / "checkpoint-1"
    assert "LlamaForSequenceClassification: unmask=00111" in command("decausal", "audit", adapter)
    output, answers = infer(adapter, "--val_dataset", data)
    assert joined in output
    assert len(answers) == 2


def test_an_earlier_answer_is_refused_unless_it_was_a_part_of_the_prompt(swift, infer, stories, tmp_path):
    data = write(tmp_path / "turns.jsonl", [{"messages": messages(*TURNS[:2])}, {"messages": messages(*TURNS[2:])}])
    swift(stories, tmp_path / "run", "--dataset", data, DECAUSAL_UNMASK="00111")
    adapter = tmp_path / "run" / "checkpoint-1"
    output, answers = infer(adapter, "--val_dataset", data, fails=True)
    assert "the conversation holds an earlier answer" in output
    assert not answers
    assert infer(adapter, "--val_dataset", data, "--loss_scale", "last_round")[1]


def test_packing_is_refused(swift, stories, tmp_path):
    output = swift(stories, tmp_path, "--packing", "true", fails=True, DECAUSAL_UNMASK="00111")
    assert '"packing" feature requires a flash attention implementation' in output  # by ms-swift itself
    output = swift(stories, tmp_path, "--packing", "true", "--attn_impl", "flash_attn", fails=True)
    assert "packing=True: ms-swift packs for flash attention only" in output


def test_a_plugin_that_is_not_told_what_to_unmask_ends_the_run(swift, stories, tmp_path):
    settings = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    for name, variables, message in (
        ("nothing", {}, "nothing says what to unmask"),
        ("unquoted", {"DECAUSAL_UNMASK": 0o00111}, "in quotes"),
    ):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**settings, "ENV": variables}), encoding="utf-8")
        assert message in swift(stories, tmp_path / name, recipe=recipe, fails=True)
