"""Real runs of LLaMA-Factory, on its YAML with and without our block."""

import json
import sys
from pathlib import Path

import pytest
import torch
from datasets import load_from_disk
from transformers import AutoModelForCausalLM, AutoTokenizer

import decausal
from decausal.tagging.data import read_sentences
from hosts_runs import ROOT

pytest.importorskip("llamafactory", reason="needs LLaMA-Factory: bash scripts/test_hosts.sh llamafactory")
pytestmark = pytest.mark.host
RECIPE = ROOT / "recipes" / "hosts" / "llamafactory" / "smollm2-135m_ner.yaml"
LAUNCH = ROOT / "recipes" / "launch" / "ddp_cpu.yaml"
OURS = (sys.executable, "-m", "decausal.hosts.llamafactory")
THEIRS = ("llamafactory-cli", "train")
CPU = ("use_cpu=true", "bf16=false", "logging_steps=1", "warmup_steps=0")
STORIES = ("template=default", "cutoff_len=128", "lora_rank=8", "learning_rate=1e-3")
PATTERN = "decausal.unmask=00111"
SEPARATE = "neat_packing=false"
ONE_STEP = ("max_samples=8", "max_steps=1", "per_device_train_batch_size=8", "disable_shuffling=true")
PREDICT = (
    "do_train=false",
    "do_predict=true",
    "predict_with_generate=true",
    "eval_dataset=ner",
    "max_samples=8",
    "max_new_tokens=12",
    "do_sample=false",
    SEPARATE,
)
JOINED = 'joined LLaMA-Factory: LlamaForCausalLM, unmask="00111", scope="prompt": layers 2-4 of 5 are bidirectional'


@pytest.fixture(scope="session")
def data(corpus, tmp_path_factory) -> str:
    """The corpus as prompts and answers, and the file by which LLaMA-Factory finds it, as an override of the YAML."""
    directory = tmp_path_factory.mktemp("prompts")
    sentences, _ = read_sentences(corpus / "train.tsv")
    with (directory / "train.jsonl").open("w", encoding="utf-8") as file:
        for words, tags in zip(sentences["tokens"], sentences["tags"], strict=True):
            [place] = [i for i, tag in enumerate(tags) if tag != "O"]
            answer = f"{tags[place][2:]}: {words[place]}"
            file.write(json.dumps({"prompt": f"{' '.join(words)}\nEntities:", "completion": answer}) + "\n")
    info = {"ner": {"file_name": "train.jsonl", "columns": {"prompt": "prompt", "response": "completion"}}}
    (directory / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    return f"dataset_dir={directory}"


@pytest.fixture
def causal_yaml(tmp_path) -> Path:
    """The recipe without our block, as LLaMA-Factory alone reads it."""
    lines = RECIPE.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "without_block.yaml"
    path.write_text("".join(line for line in lines if not line.startswith("decausal:")), encoding="utf-8")
    return path


def first_loss(output: Path) -> float:
    return json.loads((output / "trainer_state.json").read_text(encoding="utf-8"))["log_history"][0]["loss"]


def predictions(output: Path) -> list[str]:
    lines = (output / "generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["predict"] for line in lines]


def documents(rows: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels of each document that LLaMA-Factory has tokenised; in packed rows it numbers them from 1."""
    found = []
    for row in load_from_disk(str(rows))["train"].with_format("torch"):
        for document in row["attention_mask"].unique().tolist():
            mine = row["attention_mask"] == document
            found += [(row["input_ids"][mine][None], row["labels"][mine][None])] if document else []
    return found


def plain_loss(model_path: str, rows: Path, pattern: str) -> float:
    """What decausal alone computes, a document at a time: no padding, no packing, no LLaMA-Factory."""
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    decausal.unmask(model, pattern, scope="prompt")
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, labels in documents(rows):
            number = int((labels[:, 1:] != -100).sum())
            total += model(ids, labels=labels, use_cache=False).loss.item() * number
            count += number
    return total / count


def test_the_block_unmasks_and_without_it_the_run_is_causal(command, stories, data, causal_yaml, tmp_path):
    common = (f"model_name_or_path={stories}", data, SEPARATE, *CPU, *STORIES, *ONE_STEP)
    on, off, rows = tmp_path / "on", tmp_path / "off", tmp_path / "rows"
    printed = command(*OURS, RECIPE, PATTERN, *common, f"output_dir={on}", f"tokenized_path={rows}")
    assert JOINED in printed
    assert "decausal: joined" not in command(*THEIRS, causal_yaml, *common, f"output_dir={off}")
    assert len(documents(rows)) == 8
    assert first_loss(on) == pytest.approx(plain_loss(stories, rows, "00111"), abs=1e-4)
    assert first_loss(off) == pytest.approx(plain_loss(stories, rows, "none"), abs=1e-4)
    assert abs(first_loss(on) - first_loss(off)) > 1e-2
    assert "unmask=00111 of 5 layers (unmasked: 2-4): audit passed" in command("decausal", "audit", on)


@pytest.mark.parametrize("attention", ["sdpa", "disabled"])
def test_documents_of_a_packed_row_are_as_if_each_were_alone(command, stories, data, tmp_path, attention):
    output, rows = tmp_path / "packed", tmp_path / "rows"
    settings = (f"model_name_or_path={stories}", data, *CPU, *STORIES, *ONE_STEP, f"flash_attn={attention}")
    command(*OURS, RECIPE, PATTERN, *settings, f"output_dir={output}", f"tokenized_path={rows}")
    assert len(load_from_disk(str(rows))["train"]) < len(documents(rows)) == 8
    assert first_loss(output) == pytest.approx(plain_loss(stories, rows, "00111"), abs=1e-4)


def test_two_processes_join_and_take_the_step_of_one(command, stories, data, tmp_path):
    output, rows = tmp_path / "ddp", tmp_path / "rows"
    settings = (f"model_name_or_path={stories}", data, SEPARATE, *CPU, *STORIES, *ONE_STEP)
    launch = ("accelerate", "launch", "--config_file", LAUNCH, "-m", *OURS[2:], RECIPE, PATTERN, *settings)
    printed = command(*launch, "per_device_train_batch_size=4", f"output_dir={output}", f"tokenized_path={rows}")
    assert f"decausal: rank 0: {JOINED}" in printed
    assert f"decausal: rank 1: {JOINED}" in printed
    assert first_loss(output) == pytest.approx(plain_loss(stories, rows, "00111"), abs=1e-4)


def test_a_saved_adapter_writes_what_decausal_load_writes(command, stories, data, causal_yaml, tmp_path):
    adapter, rows = tmp_path / "adapter", tmp_path / "rows"
    common = (f"model_name_or_path={stories}", data, *CPU, *STORIES)
    command(*OURS, RECIPE, PATTERN, *common, "max_steps=40", f"output_dir={adapter}")

    trained = (f"adapter_name_or_path={tmp_path}", "adapter_folder=adapter", f"tokenized_path={rows}")
    printed = command(*OURS, causal_yaml, *common, *PREDICT, *trained, f"output_dir={tmp_path / 'ours'}")
    command(*THEIRS, causal_yaml, *common, *PREDICT, *trained, f"output_dir={tmp_path / 'theirs'}")
    assert JOINED in printed
    model, tokenizer = decausal.load(adapter)
    written = []
    for row in load_from_disk(str(rows))["validation"].with_format("torch"):
        ids = row["input_ids"][None]
        new = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=2)[0, ids.shape[1] :]
        written.append(tokenizer.decode(new, skip_special_tokens=True))
    assert predictions(tmp_path / "ours") == written
    assert predictions(tmp_path / "theirs") != written

    merged = tmp_path / "merged"
    place = (f"model_name_or_path={stories}", f"adapter_name_or_path={adapter}", "template=default")
    (tmp_path / "export.yaml").write_text(f"export_dir: {merged}\n", encoding="utf-8")
    assert "records its pattern" in command(*OURS, "export", tmp_path / "export.yaml", *place)
    assert "unmasked: 2-4): audit passed" in command("decausal", "audit", merged)


def test_a_run_goes_on_only_with_its_own_pattern(command, stories, data, tmp_path):
    output = tmp_path / "run"
    settings = (f"model_name_or_path={stories}", data, *CPU, *STORIES, f"output_dir={output}")
    saving = (*settings, "save_strategy=steps", "save_steps=1")
    command(*OURS, RECIPE, PATTERN, *saving, "max_steps=1")
    assert "Resuming training from" in command(*OURS, RECIPE, PATTERN, *saving, "max_steps=2")
    printed = command(*OURS, RECIPE, *saving, "max_steps=3", fails=True)
    assert 'checkpoint-2 was saved with unmask="00111", scope="prompt", and this run asks for unmask="1111"' in printed


def test_four_bit_weights_are_joined(command, stories, data, tmp_path):
    output = tmp_path / "qlora"
    settings = (f"model_name_or_path={stories}", data, *CPU, *STORIES, *ONE_STEP, f"output_dir={output}")
    assert JOINED in command(*OURS, RECIPE, PATTERN, *settings, "quantization_bit=4")
    assert "unmasked: 2-4): audit passed" in command("decausal", "audit", output)


def test_llamafactory_alone_does_not_run_a_yaml_with_our_block(command, stories, data, tmp_path):
    settings = (f"model_name_or_path={stories}", data, *CPU, *STORIES, f"output_dir={tmp_path / 'run'}")
    printed = command(*THEIRS, RECIPE, *settings, fails=True)
    assert "Some keys are not used by the HfArgumentParser: ['decausal']" in printed


def test_the_recipe_runs_on_smollm2(command, smollm2, data, causal_yaml, tmp_path):
    # In float32, since two ways to batch the same documents differ by 1e-2 in the bfloat16 that it is saved in.
    model, on, off, rows = (tmp_path / name for name in ("model", "on", "off", "rows"))
    AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).save_pretrained(model)
    AutoTokenizer.from_pretrained(smollm2).save_pretrained(model)
    common = (f"model_name_or_path={model}", data, *CPU, *ONE_STEP, "max_steps=2")
    printed = command(*OURS, RECIPE, *common, f"output_dir={on}", f"tokenized_path={rows}")
    command(*THEIRS, causal_yaml, *common, f"output_dir={off}")
    assert 'unmask="1111", scope="prompt": layers 0-29 of 30 are bidirectional' in printed
    assert first_loss(on) == pytest.approx(plain_loss(model, rows, "1111"), abs=1e-4)
    assert first_loss(off) == pytest.approx(plain_loss(model, rows, "none"), abs=1e-4)
    assert abs(first_loss(on) - first_loss(off)) > 1e-2
    assert "unmask=1111 of 30 layers (unmasked: 0-29): audit passed" in command("decausal", "audit", on)
