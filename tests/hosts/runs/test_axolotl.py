"""Axolotl's own command lines on the published YAML, fitted to a small model, a CPU and few steps."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForTokenClassification, AutoTokenizer

pytest.importorskip("axolotl", reason="needs Axolotl: bash scripts/test_hosts.sh axolotl")
from decausal.tagging.predict import Tagger
from hosts_runs import RECIPES

pytestmark = pytest.mark.host

SMALL = {
    "attn_implementation": "sdpa",
    "bf16": False,
    "dataset_num_proc": 1,
    "evals_per_epoch": 1,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "learning_rate": 0.01,
    "load_in_4bit": False,
    "adapter": "lora",
    "optimizer": "adamw_torch",
    "sequence_len": 64,
    "special_tokens": {"pad_token": "</s>"},
}
BANNER = 'decausal: joined Axolotl: LlamaForTokenClassification, unmask="11111", scope="all": layers 0-4 of 5'


KERNELS = dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"), False)
"""These kernels need a GPU; a tagger's YAML has them switched off by our plugin."""

ONE_STEP = {
    "max_steps": 1,
    "logging_steps": 1,
    "lora_dropout": 0.0,
    "evals_per_epoch": None,
    "eval_strategy": "no",
    "shuffle_merged_datasets": False,
    "num_epochs": 1,
}


@pytest.fixture
def configuration(tmp_path, stories):
    """Writes a recipe with settings changed, and returns its path and the output directory."""

    def write(recipe, **settings):
        cfg = yaml.safe_load((RECIPES / "axolotl" / f"{recipe}.yaml").read_text())
        output = tmp_path / f"out{len(list(tmp_path.glob('*.yaml')))}"
        cfg |= {**SMALL, "base_model": stories, "output_dir": str(output), **settings}
        cfg["dataset_prepared_path"] = str(tmp_path / "prepared")
        path = tmp_path / f"{output.name}.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in cfg.items() if value is not None}))
        return path, output

    return write


@pytest.fixture
def tagging(configuration, corpus):
    """The same for the recipe that trains a tagger."""

    def write(unmask="11111", **settings):
        entries = {
            key: [{"path": str(corpus / f"{split}.tsv"), "type": "decausal.hosts.axolotl_tagging"}]
            for key, split in (("datasets", "train"), ("test_datasets", "validation"))
        }
        fixed = {"micro_batch_size": 16, "num_epochs": 6, "sample_packing": False, "decausal": {"unmask": unmask}}
        return configuration("ner_qlora", **{**entries, **fixed, **settings})

    return write


@pytest.fixture
def answers(tmp_path):
    """Two instructions with an answer each, often enough to be learned by heart."""
    pairs = {"Who barked?": "the dog", "Who purred?": "the cat"}
    path = tmp_path / "alpaca.jsonl"
    rows = [{"instruction": question, "input": "", "output": answer} for question, answer in pairs.items()]
    path.write_text("\n".join(json.dumps(row) for row in rows * 16))
    return path


@pytest.fixture
def instructing(configuration, answers):
    """The same for the recipe of instruction tuning, on these."""

    def write(**settings):
        fixed = {
            "datasets": [{"path": str(answers), "ds_type": "json", "type": "alpaca"}],
            "decausal": {"unmask": "00111"},
            "val_set_size": None,
            "evals_per_epoch": None,
            "eval_sample_packing": None,
            "sample_packing": False,
            "sequence_len": 256,
            "loss_watchdog_threshold": None,
            "loss_watchdog_patience": None,
            **KERNELS,
        }
        return configuration("instruct_qlora", **{**fixed, **settings})

    return write


def first_loss(command, configured):
    """The loss of a run's first step, as its checkpoint has it."""
    path, output = configured
    command("axolotl", "train", path, "--launcher", "python")
    return json.loads((output / "checkpoint-1" / "trainer_state.json").read_text())["log_history"][0]["loss"]


def logged(output, key):
    return [float(value) for value in re.findall(rf"'{key}': '?([\d.e+-]+)", output)]


def test_what_only_the_right_context_solves_is_solved_when_every_layer_is_unmasked(tagging, command, corpus):
    path, output = tagging()
    printed = command("axolotl", "train", path, "--launcher", "python")
    assert BANNER in printed
    assert logged(printed, "eval_f1")[-1] > 95
    assert "audit passed" in command("decausal", "audit", output)
    assert Tagger.from_pretrained(output).evaluate(str(corpus / "validation.tsv")).strict.f1 == pytest.approx(
        logged(printed, "eval_f1")[-1], abs=0.01
    )
    tagged = command("decausal", "predict", output, corpus / "test.tsv")
    assert "B-PER" in tagged
    assert "B-LOC" in tagged


def test_the_same_run_is_at_chance_when_no_layer_is_unmasked(tagging, command):
    path, output = tagging(unmask="none")
    printed = command("axolotl", "train", path, "--launcher", "python")
    assert "no layer is bidirectional" in printed
    assert logged(printed, "eval_f1")[-1] < 75
    assert "unmask=none" in command("decausal", "audit", output)


def test_qlora_with_every_setting_that_breaks_a_tagger_is_trained_merged_and_evaluated(tagging, command, corpus):
    path, output = tagging(
        adapter="qlora",
        load_in_4bit=True,
        bf16=True,
        lora_target_linear=True,
        lora_target_modules=None,
        lora_mlp_kernel=True,
        trust_remote_code=True,
        gradient_checkpointing=True,
        gradient_accumulation_steps=2,
        micro_batch_size=8,
        saves_per_epoch=1,
        group_by_length=True,
    )
    printed = command("axolotl", "train", path, "--launcher", "python")
    for change in ("lora_mlp_kernel: False", "trust_remote_code: False", "llm_int8_skip_modules", "lora_exclude"):
        assert change in printed
    assert logged(printed, "eval_f1")[-1] > 95
    assert Tagger.from_pretrained(output).evaluate(str(corpus / "validation.tsv")).strict.f1 > 95
    checkpoint = max(output.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)
    assert "audit passed" in command("decausal", "audit", checkpoint)
    assert "eval_f1" in command("axolotl", "evaluate", path, "--lora-model-dir", output, "--launcher", "python")
    rows = {row["metric"]: row for row in csv.DictReader((output / "eval_summary.csv").read_text().splitlines())}
    assert float(rows["f1"]["validation"]) == pytest.approx(logged(printed, "eval_f1")[-1], abs=4)
    command("axolotl", "merge-lora", path, "--lora-model-dir", output)
    assert "unmask=11111" in command("decausal", "audit", output / "merged")
    assert Tagger.from_pretrained(output / "merged").evaluate(str(corpus / "validation.tsv")).strict.f1 > 95


@pytest.fixture
def with_head(stories, tmp_path):
    """The small model with a head, so that two runs begin with the same one."""
    directory = tmp_path / "with_head"
    AutoModelForTokenClassification.from_pretrained(stories, num_labels=5).save_pretrained(directory)
    AutoTokenizer.from_pretrained(stories).save_pretrained(directory)
    return str(directory)


@pytest.fixture
def one_step(tagging, with_head):
    """A first step of that model, without any chance in it."""

    def write(**settings):
        dropout = {"overrides_of_model_config": {"classifier_dropout": 0.0}}
        fixed = {**ONE_STEP, **dropout, "base_model": with_head, "test_datasets": None, "val_set_size": None}
        return tagging(**{**fixed, **settings})

    return write


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_packed_sentences_have_the_loss_of_separate_ones(one_step, command, attn_implementation):
    separate = one_step(attn_implementation=attn_implementation, micro_batch_size=96)
    packed = one_step(
        attn_implementation=attn_implementation, micro_batch_size=1, sample_packing=True, sequence_len=2048
    )
    assert first_loss(command, packed) == pytest.approx(first_loss(command, separate), abs=1e-5)


def test_the_loss_is_that_of_the_step_however_many_batches_it_is_of(one_step, command):
    whole = one_step(curriculum_sampling=True, micro_batch_size=16, gradient_accumulation_steps=1)
    halves = one_step(curriculum_sampling=True, micro_batch_size=8, gradient_accumulation_steps=2)
    assert first_loss(command, halves) == pytest.approx(first_loss(command, whole), abs=1e-5)


def test_a_plugin_that_cannot_be_imported_is_found_out_afterwards(instructing, command):
    path, output = instructing(plugins=["decausal.hosts.axolot.DecausalPlugin"], **ONE_STEP)
    assert "decausal: joined" not in command("axolotl", "train", path, "--launcher", "python")
    assert "records no pattern: its run was causal" in command("decausal", "audit", output, fails=True)


def test_prompts_of_instruction_tuning_see_both_sides_in_training_and_in_axolotls_inference(instructing, command):
    path, output = instructing(micro_batch_size=4, num_epochs=10, learning_rate=0.003, lora_alpha=64, lora_dropout=0.0)
    printed = command("axolotl", "train", path, "--launcher", "python")
    assert 'LlamaForCausalLM, unmask="00111", scope="prompt": layers 2-4 of 5 are bidirectional' in printed
    assert "unmask=00111" in command("decausal", "audit", output)
    answer = command(
        *("axolotl", "inference", path, "--lora-model-dir", output, "--prompter", "AlpacaPrompter"),
        stdin="Who barked?\n",
    )
    assert "layers 2-4 of 5 are bidirectional" in answer
    assert "the dog" in answer


def test_packed_instructions_have_the_loss_of_separate_ones(instructing, command):
    separate = instructing(micro_batch_size=32, **ONE_STEP)
    packed = instructing(micro_batch_size=1, sample_packing=True, sequence_len=8192, **ONE_STEP)
    assert first_loss(command, packed) == pytest.approx(first_loss(command, separate), abs=1e-4)


def test_scope_all_with_a_model_that_writes_text_is_refused(instructing, command):
    path, _ = instructing(decausal={"unmask": "00111", "scope": "all"})
    assert "would read the answer to its right" in command("axolotl", "train", path, "--launcher", "python", fails=True)


def test_a_real_model_takes_its_first_steps_from_the_published_recipe(smollm2, command, tmp_path):
    recipe = RECIPES / "axolotl" / "right_context.yaml"
    printed = command(
        *("axolotl", "train", recipe, "--launcher", "python", "--base-model", smollm2, "--max-steps", 3),
        *("--output-dir", tmp_path / "out", "--dataset-prepared-path", tmp_path / "prepared"),
        *("--eval-steps", 100, "--save-steps", 100, "--logging-steps", 1),
        cwd=Path(RECIPES).parents[1],
    )
    assert "layers 0-29 of 30 are bidirectional" in printed
    assert "unmask=1111 of 30 layers (unmasked: 0-29): audit passed" in command("decausal", "audit", tmp_path / "out")
