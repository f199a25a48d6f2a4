"""TRL's command line, and a Trainer script that accelerate launches, under `decausal run` and without it."""

import json
import re
import sys

import pytest
import torch

import decausal
from hosts_runs import ROOT

pytest.importorskip("trl", reason="needs TRL: bash scripts/test_hosts.sh trl")
pytestmark = pytest.mark.host

SCRIPT = ROOT / "recipes" / "hosts" / "transformers" / "run_ner.py"
RECIPE = ROOT / "recipes" / "hosts" / "trl" / "sft.yaml"
ONE_LINE = '# import decausal; decausal.unmask(model, "0011")'
UNMASKED = ("decausal", "run", "--unmask", "00111", "--")
SMALL = (
    *("--dtype", "float32", "--bf16", "false", "--use_cpu", "true", "--gradient_checkpointing", "false"),
    *("--gradient_accumulation_steps", "1", "--logging_steps", "1", "--save_strategy", "no", "--max_length", "64"),
    *("--learning_rate", "3e-3", "--warmup_steps", "0"),
)
GENERATE = """
import sys
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, pipeline
directory, prompt, way = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(directory)

def keep_weights(model):
    # Else bitsandbytes, on CPUs with AVX-512 and bfloat16, computes in bfloat16 what was trained in float32.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False

if way == "generate":
    model = AutoPeftModelForCausalLM.from_pretrained(directory).eval()
    keep_weights(model)
    ids = model.generate(tokenizer(prompt, return_tensors="pt").input_ids, max_new_tokens=12, do_sample=False)[0]
else:
    write = pipeline("text-generation", model=directory, tokenizer=tokenizer, device="cpu")
    keep_weights(write.model)
    # Text would be cut where the prompt's own ends, at times without the space behind it.
    ids = write(prompt, max_new_tokens=12, do_sample=False, return_tensors=True)[0]["generated_token_ids"]
print(f"text: {tokenizer.decode(ids, skip_special_tokens=True)!r}")
"""
PROMPT = "One day the dog saw a cat ."


def first_loss(output):
    return float(re.search(r"'loss': '([\d.]+)'", output)[1])


def text_of(output):
    return re.search(r"^text: .*$", output, re.MULTILINE)[0]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Eight prompts of different lengths, whose answers repeat their last words."""
    words = ["one", "day", "the", "dog", "saw", "a", "cat", "in", "the", "big", "house"]
    rows = [{"prompt": " ".join(words[: 3 + n]), "completion": " " + " ".join(words[2 + n : n : -1])} for n in range(8)]
    directory = tmp_path_factory.mktemp("documents")
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


@pytest.fixture
def tagging(corpus, stories, tmp_path):
    """The arguments of the token classification script, on a task that only the words to the right solve."""
    for split in ("train", "validation"):
        blocks = (corpus / f"{split}.tsv").read_text().strip().split("\n\n")
        rows = [zip(*(line.split("\t") for line in block.split("\n")), strict=True) for block in blocks]
        lines = [json.dumps(dict(zip(("tokens", "ner_tags"), row, strict=True))) for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    return (
        *("--model_name_or_path", stories, "--output_dir", tmp_path / "ner"),
        *("--train_file", tmp_path / "train.jsonl", "--validation_file", tmp_path / "validation.jsonl"),
        *("--num_train_epochs", "10", "--learning_rate", "3e-3", "--per_device_train_batch_size", "8"),
        *("--use_cpu", "--report_to", "none", "--save_strategy", "no"),
    )


@pytest.fixture
def sft(documents, stories, tmp_path):
    """The arguments of `trl sft` by the recipe, on stories260k, into `out`."""
    return (
        *("trl", "sft", "--config", RECIPE, "--model_name_or_path", stories, "--dataset_name", documents),
        *("--output_dir", tmp_path / "out", *SMALL),
    )


def f1(output):
    return float(re.search(r"eval_f1 += +([\d.]+)", output)[1])


def test_a_trainer_script_solves_with_a_command_in_front_what_it_cannot_without(command, tagging, tmp_path):
    launch = ("accelerate", "launch", SCRIPT, *tagging)
    assert f1(command(*launch)) < 0.7
    unmasked = command(*UNMASKED, *launch)
    assert "decausal: joined transformers: LlamaForTokenClassification" in unmasked
    assert f1(unmasked) == 1.0
    assert "audit passed" in command("decausal", "audit", tmp_path / "ner", "--unmask", "00111")


def test_a_trainer_script_solves_it_with_one_line_too(command, tagging, tmp_path):
    text = SCRIPT.read_text()
    assert text.count(ONE_LINE) == 1
    script = tmp_path / "with_one_line.py"
    script.write_text(text.replace(ONE_LINE, ONE_LINE.removeprefix("# ")))
    assert f1(command("accelerate", "launch", script, *tagging)) == 1.0


LOOP = """
import sys
import torch
from accelerate import Accelerator
from transformers import AutoModelForTokenClassification

accelerator = Accelerator(cpu=True)
model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], num_labels=3)
model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
ids = torch.randint(3, 500, (2, 16))
accelerator.backward(model(ids, labels=ids % 3).loss)
optimizer.step()
accelerator.unwrap_model(model).save_pretrained(sys.argv[2])
accelerator.end_training()
"""


def test_a_loop_of_accelerate_s_own_is_joined_in_every_process(command, stories, tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(LOOP)
    launch = ("accelerate", "launch", "--config_file", ROOT / "recipes" / "launch" / "ddp_cpu.yaml")
    output = command(*UNMASKED, *launch, script, stories, tmp_path / "out")
    for rank in (0, 1):
        assert f"decausal: rank {rank}: joined transformers: LlamaForTokenClassification" in output
    assert "audit passed" in command("decausal", "audit", tmp_path / "out", "--unmask", "00111")


def test_packed_documents_have_the_loss_of_separate_ones(command, sft):
    one_step = ("--max_steps", "1", "--per_device_train_batch_size", "8")
    packed = first_loss(command(*UNMASKED, *sft, *one_step))
    separate = first_loss(command(*UNMASKED, *sft, *one_step, "--packing", "false"))
    assert packed == pytest.approx(separate, rel=1e-3)  # four digits are printed
    assert packed != pytest.approx(first_loss(command(*sft, *one_step)), rel=2e-3)


def test_smollm2_is_trained_in_4_bits(command, sft, smollm2, tmp_path):
    qlora = (*sft, "--model_name_or_path", smollm2, "--load_in_4bit", "true", "--max_steps", "2")
    output = command(*UNMASKED, *qlora)
    assert 'unmask="00111", scope="prompt": layers 12-29 of 30 are bidirectional' in output
    assert first_loss(output) != first_loss(command(*qlora, "--output_dir", tmp_path / "causal"))
    assert "audit passed" in command("decausal", "audit", tmp_path / "out", "--unmask", "00111")
    model, tokenizer = decausal.load(tmp_path / "out")
    ids = model.generate(tokenizer(PROMPT, return_tensors="pt").input_ids, max_new_tokens=12, do_sample=False)
    expected = f"text: {tokenizer.decode(ids[0], skip_special_tokens=True)!r}"
    read = ("decausal", "run", "--", sys.executable, "-c", GENERATE, tmp_path / "out", PROMPT, "pipeline")
    assert text_of(command(*read)) == expected


def test_what_was_trained_writes_the_same_by_the_host_s_own_means(command, sft, tmp_path):
    command(*UNMASKED, *sft, "--max_steps", "40")
    model, tokenizer = decausal.load(tmp_path / "out")
    with torch.no_grad():
        ids = model.generate(tokenizer(PROMPT, return_tensors="pt").input_ids, max_new_tokens=12, do_sample=False)
    expected = f"text: {tokenizer.decode(ids[0], skip_special_tokens=True)!r}"
    script = (sys.executable, "-c", GENERATE, tmp_path / "out", PROMPT)
    assert text_of(command("decausal", "run", "--", *script, "generate")) == expected
    assert text_of(command("decausal", "run", "--", *script, "pipeline")) == expected
    assert text_of(command(*script, "generate")) != expected
    assert "model.safetensors" in command(*script, "pipeline", fails=True)


def test_a_run_in_which_nothing_was_unmasked_ends_with_an_error(command, sft, tmp_path):
    recipe = tmp_path / "with_a_path.yaml"
    recipe.write_text(RECIPE.read_text() + "env: {PYTHONPATH: /nowhere}\n")
    hidden = tuple(recipe if argument == RECIPE else argument for argument in sft)
    output = command(*UNMASKED, *hidden, "--max_steps", "1", fails=True)
    assert "Training completed" in output
    assert "error: the command ended, and nothing was unmasked in any of its processes" in output


def test_label_smoothing_is_refused_by_name(command, sft):
    output = command(*UNMASKED, *sft, "--max_steps", "1", "--label_smoothing_factor", "0.1", fails=True)
    assert "label_smoothing_factor and compute_loss_func: leave them out" in output
