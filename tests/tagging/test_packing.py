import itertools
import json
import shutil

import pytest
import torch
from transformers import (
    BloomConfig,
    DataCollatorForTokenClassification,
    DataCollatorWithFlattening,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, MODEL_MAPPING

import decausal
import small_tokenizers
import zoo
from decausal._tokenizer import prepare_tokenizer
from decausal.tagging.packing import PackingCollator, check_packing, first_fit_decreasing
from decausal.tagging.train import main
from decausal.tagging.trainer import token_mean_loss

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

PAD = 0
PATTERNS = ["".join(bits) for bits in itertools.product("01", repeat=4)]


def windows_of(*lengths: int, seed: int = 0, num_copies: int = 1) -> list[dict[str, list[int]]]:
    """Windows of random sub-words, of which every second one is labelled, in the last copy."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "input_ids": torch.randint(1, 50, (length,), generator=generator).tolist() * num_copies,
            "attention_mask": [1] * length * num_copies,
            "labels": [-100] * length * (num_copies - 1)
            + [(place % 3) if place % 2 == 0 else -100 for place in range(length)],
        }
        for length in lengths
    ]


def tagger(attn_implementation: str = "sdpa", **config) -> PreTrainedModel:
    torch.manual_seed(0)
    settings = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_labels": 3,
        "pad_token_id": PAD,
        "attn_implementation": attn_implementation,
        "use_cache": False,
    }
    configuration = LlamaConfig(**settings | config)
    return MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[LlamaConfig](configuration).eval()


def loss_and_gradients(model: PreTrainedModel, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    loss = token_mean_loss(model(**inputs), batch["labels"])
    model.zero_grad()
    loss.backward()
    return loss.detach(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def test_windows_lie_end_to_end_with_positions_that_start_again_and_a_tail():
    windows = [
        {"input_ids": [11, 12, 13], "labels": [1, 0, 0]},
        {"input_ids": [21, 22], "labels": [2, 0]},
        {"input_ids": [31], "labels": [1]},
    ]
    batch = PackingCollator(PAD)(windows)
    assert batch["input_ids"].tolist() == [[11, 12, 13, 21, 22, 31, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 0, 1]]
    assert batch["labels"].tolist() == [[1, 0, 0, 2, 0, 1, -100, -100]]
    assert set(batch) == {"input_ids", "position_ids", "labels"}


def test_the_packer_of_transformers_would_lose_the_first_label_of_a_document():
    stock = DataCollatorWithFlattening()([{"input_ids": [11, 12], "labels": [1, 0]}])
    assert stock["labels"].tolist() == [[-100, 0]]


def test_documents_go_first_where_they_fit_the_longest_first():
    assert first_fit_decreasing([2, 5, 3, 4, 2], row_length=8) == [[1, 2], [3, 0, 4]]


@pytest.mark.parametrize(
    ("lengths", "shape"),
    [
        ([20] * 16, (2, 160)),  # 320 sub-words, in two rows of half of them
        ([300, 20, 20], (2, 304)),  # no row is shorter than the longest window
        ([9], (1, 16)),
        ([100, 100, 100], (2, 200)),  # 152 would be enough for half, but a window is not cut
    ],
)
def test_rows_are_as_few_and_as_short_as_hold_the_windows(lengths, shape):
    rows, row_length = PackingCollator(PAD).lay(lengths)
    assert (len(rows), row_length) == shape
    assert sorted(window for row in rows for window in row) == list(range(len(lengths)))
    assert all(sum(lengths[window] for window in row) <= row_length for row in rows)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("unmask", PATTERNS)
@pytest.mark.parametrize("num_copies", [1, 2])
def test_a_packed_batch_has_the_loss_and_gradients_of_the_padded_one(num_copies, unmask, attn_implementation):
    model = tagger(attn_implementation)
    if unmask != "0000":
        decausal.unmask(model, unmask)
    windows = windows_of(7, 1, 12, 5, 1, 3, 9, 2, num_copies=num_copies)
    padded = DataCollatorForTokenClassification(prepare_tokenizer(small_tokenizers.smollm2()))(windows)
    packed = PackingCollator(PAD, row_length=16)(windows)
    assert packed["input_ids"].shape[0] > 1
    (loss, gradients), (expected, expected_gradients) = (
        loss_and_gradients(model, dict(batch)) for batch in (packed, padded)
    )
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("model_type", ["llama", "afmoe"])  # transformers keeps the documents of the first one apart
@pytest.mark.parametrize("lengths", [[1, 1, 1], [1] * 8, [1] * 9, [8, 1, 1, 1, 1, 1, 1, 1, 1]])
def test_one_token_documents_do_not_see_each_other_either(lengths, model_type):
    model = zoo.build(model_type, "sdpa")
    decausal.unmask(model, "all")
    windows = windows_of(*lengths)
    packed = PackingCollator(PAD, row_length=8)(windows)
    rows, _ = PackingCollator(PAD, row_length=8).lay(lengths)
    with torch.no_grad():
        together = model(input_ids=packed["input_ids"], position_ids=packed["position_ids"]).logits
        for row, members in enumerate(rows):
            start = 0
            for window in members:
                alone = model(input_ids=torch.tensor([windows[window]["input_ids"]])).logits[0]
                torch.testing.assert_close(together[row, start : start + len(alone)], alone, rtol=0, atol=1e-5)
                start += len(alone)


def test_a_variable_length_kernel_gets_one_row_and_its_borders():
    windows = windows_of(300, 7, 1)
    batch = PackingCollator(PAD, is_flash=True)(windows)
    assert batch["input_ids"].shape == (1, 312)
    assert batch["cu_seq_lens_q"].tolist() == [0, 300, 307, 308, 312]
    assert batch["cu_seq_lens_k"].dtype == torch.int32
    assert (batch["max_length_q"], batch["max_length_k"]) == (300, 300)


def test_a_row_without_tail_has_no_empty_document():
    batch = PackingCollator(PAD, is_flash=True)(windows_of(5, 3))
    assert batch["cu_seq_lens_q"].tolist() == [0, 5, 8]


@pytest.fixture
def without_dropout(base_model, tmp_path) -> str:
    """The small model, whose head drops nothing: dropout draws other numbers for other shapes."""
    directory = tmp_path / "without_dropout"
    shutil.copytree(base_model, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "classifier_dropout": 0.0}))
    return str(directory)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"unmask": "none"},
        {"load_in_4bit": True},
        {"use_peft": False},
        {"gradient_accumulation_steps": 2},
        {"unmask": "none", "num_copies": 2},
    ],
)
def test_a_packed_run_has_the_losses_and_scores_of_the_padded_one(
    recipe, without_dropout, tmp_path, extra, monkeypatch
):
    packed_windows = []
    collate = PackingCollator.__call__

    def counting(self, windows):
        packed_windows.extend(windows)
        return collate(self, windows)

    monkeypatch.setattr(PackingCollator, "__call__", counting)
    settings = {
        "model_name_or_path": without_dropout,
        "lora_dropout": 0.0,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "unmask": "0111",
    }
    results = []
    for packing in (True, False):
        directory = tmp_path / f"packing-{packing}"
        fields = {"output_dir": str(directory), "packing": packing, "packing_length": 32, "num_train_epochs": 3}
        fields["train_sampling_strategy"] = "group_by_length"
        assert main([recipe(**settings | fields | extra)]) == 0
        results.append(json.loads((directory / "results.json").read_text(encoding="utf-8")))
    packed, padded = ([entry["loss"] for entry in found["log"] if "loss" in entry] for found in results)
    assert len(packed_windows) == 3 * 96
    assert len(packed) == results[0]["steps"]
    assert packed == pytest.approx(padded, rel=1e-3)
    assert results[0]["scores"] == results[1]["scores"]


@pytest.mark.parametrize(
    ("model_type", "unmask", "message"),
    [
        ("bloom", "0011", "takes no position_ids"),
        ("afmoe", "0011", "layers 0-1 of AfmoeForCausalLM see the document packed before"),  # its stock layers do
        ("zamba2", "none", "layers 0-3 of Zamba2ForCausalLM see the document packed before"),
    ],
)
def test_a_model_whose_documents_would_see_each_other_is_not_packed(model_type, unmask, message):
    model = zoo.build(model_type)
    if unmask != "none":
        decausal.unmask(model, unmask)
    with pytest.raises(decausal.UnsupportedModelError, match=message):
        check_packing(decausal.audit(model, unmask))


@pytest.mark.parametrize(
    ("config_class", "unmask", "message"),
    [(BloomConfig, "1111", "takes no position_ids"), (ModernBertConfig, "none", "'modernbert' is an encoder")],
)
def test_a_run_that_cannot_be_packed_does_not_start(recipe, tmp_path, capsys, config_class, unmask, message):
    tokenizer = small_tokenizers.smollm2()
    config = config_class(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=4, num_attention_heads=4, pad_token_id=0
    )
    MODEL_MAPPING[config_class](config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = str(tmp_path / "model")
    assert main([recipe(model_name_or_path=model, unmask=unmask, packing=True, eval_strategy="no")]) == 1
    assert message in capsys.readouterr().err


def test_a_cache_that_would_let_causal_documents_see_each_other_is_refused(recipe, capsys):
    assert main([recipe(unmask="none", packing=True, use_cache=True)]) == 1
    assert "use_cache=true" in capsys.readouterr().err
