"""The 68M twins: their shape, the blocks that they learn from, their steps, and the taggers that they become."""

import json
import subprocess
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    RobertaForTokenClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

import decausal
import make_text
import pretrain
from decausal.tagging.arguments import parse_fields
from decausal.tagging.train import main as train_tagger
from launching import ROOT, command, environment
from packed_text import Blocks, cut_blocks, read_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

OBJECTIVES = ("mlm", "causal")
CORPUS = ROOT / "examples" / "right_context"
FIRST_SENTENCE = (
    "It is well known that Charlotte , at least in this version , sold its shipping division to investors ."
)
TINY = "hidden_size=32,intermediate_size=64,num_attention_heads=4"
NO_DROPOUT = f"{TINY},hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Data sets are cached by the name of the function that made them, whatever stands in it."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("datasets")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", directory)
        patch.setenv("HF_DATASETS_CACHE", str(directory))
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """The small corpus as `text.txt`, and a tokenizer."""
    directory = tmp_path_factory.mktemp("text")
    make_text.main([str(CORPUS / "train.tsv"), str(directory), "--vocab_size", "500"])
    return directory


@pytest.fixture
def fields(text, tmp_path):
    """The command line of a tiny run of ten steps; None leaves a field out."""

    def write(objective: str, /, **changes: object) -> list[str]:
        contents = {
            "train_file": text / "text.txt",
            "tokenizer_name_or_path": text / "tokenizer",
            "config_overrides": TINY,
            "block_size": 32,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "max_steps": 10,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "disable_tqdm": True,
            "output_dir": tmp_path / objective,
            **changes,
        }
        flags = [(f"--{name}", str(value)) for name, value in contents.items() if value is not None]
        return [
            str(ROOT / "recipes" / "pretrain_68m" / f"{objective}.yaml"),
            *(part for flag in flags for part in flag),
        ]

    return write


def words(*some: str) -> PreTrainedTokenizerFast:
    """A tokenizer with RoBERTa's special tokens, whose sub-words are words."""
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *some, "<mask>"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocab)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def parsed(*arguments: str) -> pretrain.PretrainingArguments:
    types = (pretrain.PretrainingArguments, TrainingArguments)
    return parse_fields(arguments, types, "scripts/pretrain.py")[0]


def steps_of(directory: Path) -> np.ndarray:
    """Loss and gradient norm of each step."""
    log = json.loads((directory / "results.json").read_text())["log"]
    return np.array([(entry["loss"], entry["grad_norm"]) for entry in log if "loss" in entry])


def assert_same_run(found: Path, expected: Path) -> None:
    np.testing.assert_allclose(steps_of(found), steps_of(expected), rtol=1e-4)
    expected_weights = load_file(expected / "model.safetensors")
    found_weights = load_file(found / "model.safetensors")
    assert found_weights.keys() == expected_weights.keys()
    for name, weight in expected_weights.items():
        # What has no gradient but rounding, the biases of keys, is smaller than this.
        np.testing.assert_allclose(found_weights[name], weight, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_twin_has_67994457_parameters_and_67358985_as_a_tagger_of_nine_labels(objective):
    arguments = parsed(str(ROOT / "recipes" / "pretrain_68m" / f"{objective}.yaml"))
    tokenizer = words(*map(str, range(50260)))
    assert len(tokenizer) == 50265
    with torch.device("meta"):
        twin = pretrain.build_model(arguments, tokenizer, seed=120)
        twin.config.num_labels = 9
        tagger = RobertaForTokenClassification(twin.config)
    assert twin.num_parameters() == 67_994_457
    assert tagger.num_parameters() == 67_358_985


def test_the_recipes_of_the_twins_differ_in_their_objective_only():
    contents = [yaml.safe_load((ROOT / "recipes" / "pretrain_68m" / f"{name}.yaml").read_text()) for name in OBJECTIVES]
    different = {key for key in contents[0] | contents[1] if contents[0].get(key) != contents[1].get(key)}
    assert different == {"objective", "mlm_probability", "output_dir"}


def test_the_twins_begin_with_the_same_weights(fields):
    tokenizer = words("a", "b")
    encoder, decoder = (pretrain.build_model(parsed(*fields(name)), tokenizer, seed=120) for name in OBJECTIVES)
    assert encoder.state_dict().keys() == decoder.state_dict().keys()
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, decoder.state_dict()[name]), name
    assert (encoder.config.is_decoder, decoder.config.is_decoder) == (False, True)
    other = pretrain.build_model(parsed(*fields("causal")), tokenizer, seed=121)
    assert not torch.equal(other.get_input_embeddings().weight, decoder.get_input_embeddings().weight)


def test_sentences_are_marked_laid_end_to_end_and_cut_into_blocks(tmp_path):
    (tmp_path / "text.txt").write_text("a b\n\n c\n   \na b c\n")
    blocks, report = cut_blocks(str(tmp_path / "text.txt"), words("a", "b", "c"), block_size=5)
    assert blocks["input_ids"][:] == [[0, 4, 5, 2, 0], [6, 2, 0, 4, 5]]
    assert report.endswith("3 sentences, 12 tokens with <s> and </s>; 2 blocks of 5, 2 tokens left out")


def test_a_rest_is_dropped_once_however_long_the_text_is(tmp_path):
    (tmp_path / "1.txt").write_text("a\n" * 1700)
    (tmp_path / "2.txt").write_text("a\n" * 800)
    blocks, report = cut_blocks(str(tmp_path), words("a"), block_size=7)
    assert np.array(blocks["input_ids"][:]).flatten().tolist() == ([0, 4, 2] * 2500)[:7497]
    assert report.endswith("7,500 tokens with <s> and </s>; 1,071 blocks of 7, 3 tokens left out")


def test_a_corpus_becomes_text_and_a_tokenizer_like_that_of_roberta(text):
    assert (text / "text.txt").read_text().splitlines()[0] == FIRST_SENTENCE
    tokenizer = read_tokenizer(str(text / "tokenizer"), 32)
    assert len(tokenizer) == 500
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id)
    assert special == (0, 1, 2, 4)


def test_masks_depend_on_seed_epoch_and_block_alone(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d e f\n" * 40)
    tokenizer = words(*"abcdef")
    blocks, _ = cut_blocks(str(tmp_path / "text.txt"), tokenizer, block_size=64)
    make = partial(Blocks, blocks, DataCollatorForLanguageModeling(tokenizer))
    drawn, again, other_seed = make(seed=1), make(seed=1), make(seed=2)
    assert torch.equal(drawn[1]["labels"], again[1]["labels"])
    assert torch.equal(drawn[1]["input_ids"], again[1]["input_ids"])
    assert not torch.equal(drawn[1]["labels"], other_seed[1]["labels"])
    assert not torch.equal(drawn[1]["labels"], drawn[0]["labels"])
    again.epoch.fill_(1)
    assert not torch.equal(drawn[1]["labels"], again[1]["labels"])
    assert drawn[len(blocks)]["labels"].unique().tolist() == [-100]


@pytest.mark.parametrize(("objective", "num_losses"), [("mlm", 3), ("causal", 1)])
def test_every_epoch_masks_other_tokens(fields, text, tmp_path, objective, num_losses):
    (tmp_path / "short.txt").write_text((text / "text.txt").read_text()[:5000])
    changes = {"train_file": tmp_path / "short.txt", "config_overrides": NO_DROPOUT, "learning_rate": 0, "max_steps": 3}
    assert pretrain.main(fields(objective, **changes, per_device_train_batch_size=100)) == 0  # a step is an epoch
    assert len({round(loss, 4) for loss, _ in steps_of(tmp_path / objective)}) == num_losses


@pytest.mark.parametrize("objective", [pytest.param("causal", marks=pytest.mark.long), "mlm"])
def test_a_run_takes_the_same_steps_with_accumulation_and_on_two_processes(fields, tmp_path, text, objective):
    lines = (text / "text.txt").read_text().splitlines(keepends=True)
    (tmp_path / "short.txt").write_text("".join(lines[:40]))
    shared = {"train_file": tmp_path / "short.txt", "config_overrides": NO_DROPOUT, "learning_rate": 1e-3}
    layouts = {"whole": (8, 1), "cut": (2, 4)}
    for name, (batch, accumulation) in layouts.items():
        layout = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        assert pretrain.main(fields(objective, **shared, **layout, output_dir=tmp_path / name)) == 0
    program = fields(objective, **shared, per_device_train_batch_size=4, output_dir=tmp_path / "two")
    launched = command("DDP", "scripts/pretrain.py", *program)
    outcome = subprocess.run(launched, check=False, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    assert "50 blocks of 32" in outcome.stdout  # the seventh step ends an epoch, with two blocks
    assert "2 processes on cpu, data parallel, float32" in outcome.stdout
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    assert_same_run(tmp_path / "two", tmp_path / "whole")


@pytest.mark.parametrize(("accumulation", "factor"), [(1, 1), (4, 4)])
def test_the_stock_trainer_makes_the_loss_of_a_masked_lm_as_many_times_too_large_as_it_accumulates(
    fields, text, tmp_path, accumulation, factor
):
    settings = {"max_steps": 1, "config_overrides": NO_DROPOUT, "per_device_train_batch_size": 8 // accumulation}
    line = fields("mlm", **settings, gradient_accumulation_steps=accumulation)
    arguments, training = parse_fields(line, (pretrain.PretrainingArguments, TrainingArguments), "scripts/pretrain.py")
    assert pretrain.main(line) == 0
    tokenizer = read_tokenizer(arguments.tokenizer_name_or_path, 32)
    blocks, _ = cut_blocks(arguments.train_file, tokenizer, 32)
    stock = Trainer(
        model=pretrain.build_model(arguments, tokenizer, seed=120),
        args=training,
        train_dataset=Blocks(blocks, DataCollatorForLanguageModeling(tokenizer), seed=120),
        data_collator=default_data_collator,
    )
    stock.train()
    assert stock.state.log_history[0]["loss"] == pytest.approx(factor * steps_of(tmp_path / "mlm")[0, 0], rel=0.1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(fields, tmp_path, objective):
    assert pretrain.main(fields(objective, max_steps=6, output_dir=tmp_path / "whole")) == 0
    halves = {"save_strategy": "steps", "save_steps": 3, "output_dir": tmp_path / "halves"}
    assert pretrain.main(fields(objective, max_steps=3, **halves)) == 0
    assert pretrain.main(fields(objective, max_steps=6, **halves, resume_from_checkpoint=True)) == 0
    assert_same_run(tmp_path / "halves", tmp_path / "whole")


def test_a_run_is_not_resumed_with_another_text(fields, tmp_path, text, capsys):
    assert pretrain.main(fields("causal", max_steps=1, save_strategy="steps", save_steps=1)) == 0
    (tmp_path / "other.txt").write_text((text / "text.txt").read_text().replace("the", "a"))
    assert pretrain.main(fields("causal", train_file=tmp_path / "other.txt", resume_from_checkpoint=True)) == 1
    assert "was trained with text (SHA-256)=" in capsys.readouterr().err


@pytest.fixture(scope="module")
def twins(text, tmp_path_factory) -> Path:
    """Both twins, tiny, after sixty steps."""
    directory = tmp_path_factory.mktemp("twins")
    for objective in OBJECTIVES:
        line = f"{ROOT}/recipes/pretrain_68m/{objective}.yaml --train_file {text}/text.txt --tokenizer_name_or_path"
        line += f" {text}/tokenizer --config_overrides {TINY} --block_size 32 --per_device_train_batch_size 8"
        line += " --gradient_accumulation_steps 1 --learning_rate 1e-2 --max_steps 60 --logging_steps 1"
        line += " --use_cpu true --bf16 false"
        line += f" --disable_tqdm true --save_strategy no --output_dir {directory / objective}"
        assert pretrain.main(line.split()) == 0
    return directory


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_falls_and_the_weights_are_saved_as_transformers_models(twins, objective):
    losses = steps_of(twins / objective)[:, 0]
    assert losses[0] == pytest.approx(np.log(500), abs=0.3)
    assert losses[-5:].mean() < losses[0] - 0.5
    assert json.loads((twins / objective / "config.json").read_text())["is_decoder"] == (objective == "causal")
    _, info = AutoModelForMaskedLM.from_pretrained(twins / objective, output_loading_info=True)
    assert not info["missing_keys"]


@pytest.mark.parametrize(
    ("objective", "pattern", "layers", "audit"),
    [
        ("mlm", "none", (), "an encoder, which sees both sides"),
        ("causal", "none", (), "(unmasked: none): audit passed"),
        ("causal", "all", (0, 1, 2, 3), "(unmasked: 0-3): audit passed"),
        ("causal", "0011", (2, 3), "(unmasked: 2-3): audit passed"),
    ],
)
def test_the_tagging_recipe_fine_tunes_a_twin(twins, tmp_path, objective, pattern, layers, audit):
    line = f"{ROOT}/recipes/ner/roberta-68m_full.yaml --model_name_or_path {twins / objective} --unmask {pattern}"
    line += f" --train_file {CORPUS}/train.tsv --validation_file {CORPUS}/validation.tsv --test_file {CORPUS}/test.tsv"
    line += " --max_train_samples 64 --max_eval_samples 8 --max_test_samples 8 --num_train_epochs 1"
    line += " --use_cpu true --bf16 false"
    assert train_tagger([*line.split(), "--disable_tqdm", "true", "--output_dir", str(tmp_path / "tagger")]) == 0
    results = json.loads((tmp_path / "tagger" / "results.json").read_text())
    assert results["audit"].endswith(audit)
    model, tokenizer = decausal.load(tmp_path / "tagger")
    assert decausal.unmasked_layers(model) == layers
    assert model.config.is_decoder == (objective == "causal")
    assert tokenizer.model_max_length == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_file": "nowhere.txt"}, "train_file=nowhere.txt: there is no such file, or nothing in it"),
        ({"train_file": "empty.txt"}, "train_file=empty.txt: there is no such file, or nothing in it"),
        (
            {"train_file": "short.txt"},
            "short.txt: 1 sentences, 8 tokens with <s> and </s>, which do not fill a block of ",
        ),
        ({"train_file": "latin.txt"}, "train_file=latin.txt cannot be read: 'utf-8' codec can't decode byte 0xe9"),
        ({"tokenizer_name_or_path": "./none"}, "./none: no such directory"),
        ({"block_size": 600}, "block_size=600: RoBERTa counts its 514 positions from pad_token_id + 1 = 2 on, "),
        ({"config_overrides": "depth=2"}, "config_overrides=depth=2: key depth isn't in the original config dict"),
        ({"objective": "both"}, "argument --objective: invalid choice: 'both'"),
        ({"blok_size": 5}, "command line: unknown field '--blok_size': did you mean 'block_size'"),
    ],
)
def test_wrong_input_is_one_message_and_exit_status_one(fields, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("short.txt").write_text("the house in\n")
    Path("latin.txt").write_bytes(b"caf\xe9\n" * 99)
    assert pretrain.main(fields("causal", **changes)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error:") == 1


def test_a_tokenizer_without_a_token_of_its_own_for_padding_is_refused(tmp_path):
    tokenizer = words("a")
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"eos_token='</s>', pad_token='</s>', mask_token='<mask>': RoBERTa needs all four"
    ):
        read_tokenizer(str(tmp_path), 512)
