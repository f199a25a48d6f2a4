"""The published loop, written out, is what `as_published` repeats."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from decausal._tokenizer import load_tokenizer
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.as_published import AsPublishedTrainer
from decausal.tagging.predict import Tagger
from decausal.tagging.splits import Corpus, Split
from decausal.tagging.train import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

LEARNING_RATE, ACCUMULATION = 1e-2, 4


@pytest.fixture
def watched(monkeypatch):
    """The model before the first step, and the inputs of every micro-batch; no dropout."""
    seen = {"batches": []}
    compute_loss = AsPublishedTrainer.compute_loss

    def watch(trainer, model, inputs, *args, **kwargs):
        for module in model.modules():
            module.p = 0.0 if isinstance(module, torch.nn.Dropout) else getattr(module, "p", None)
        seen["model"] = model
        seen.setdefault("before", copy.deepcopy(model))
        seen["batches"].append({name: tensor.clone() for name, tensor in inputs.items()})
        return compute_loss(trainer, model, inputs, *args, **kwargs)

    monkeypatch.setattr(AsPublishedTrainer, "compute_loss", watch)
    return seen


def published(model, batches):
    """The loop of the paper's code; its schedule counts micro-batches, and is moved with the optimizer."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = CosineAnnealingLR(optimizer, T_max=len(batches))
    for number, batch in enumerate(batches, 1):
        model.zero_grad()
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
        (loss / ACCUMULATION).backward()
        if number % ACCUMULATION == 0 or number == len(batches):
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
    return model


def as_published(**fields):
    return {
        "as_published": True, "gradient_accumulation_steps": ACCUMULATION, "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "cosine", "eval_strategy": "no", **fields,
    }  # fmt: skip


def test_a_run_takes_the_steps_of_the_published_loop(recipe, watched):
    fields = as_published(max_train_samples=38, per_device_train_batch_size=4, max_test_samples=1, max_eval_samples=1)
    assert main([recipe(**fields)]) == 0
    training = watched["batches"][:10]  # what follows is scored
    expected = dict(published(watched["before"].train(), training).named_parameters())
    found = dict(watched["model"].named_parameters())
    moved = [name for name, parameter in found.items() if parameter.requires_grad]
    assert len(moved) > 20
    for name in moved:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_with_four_micro_batches_to_a_step_the_cosine_ends_at_085(recipe, tmp_path):
    fields = as_published(per_device_train_batch_size=1, num_train_epochs=2, logging_steps=1)
    assert main([recipe(**fields)]) == 0
    log = json.loads((tmp_path / "run" / "results.json").read_text())["log"]
    rates = [entry["learning_rate"] for entry in log if "loss" in entry]
    assert len(rates) == 48
    assert min(rates) / LEARNING_RATE == pytest.approx(0.853, abs=0.01)


@pytest.fixture
def cut(recipe):
    """The splits of a recipe whose sentences are cut at so many sub-words."""

    def make(max_length, **fields):
        tagging, model_config, _ = parse_recipe([recipe(max_length=max_length, **fields)])
        corpus = Corpus.read(tagging)
        tokenizer = load_tokenizer(model_config.model_name_or_path)
        return {
            name: Split.of(found, tokenizer, corpus.labels, tagging) for name, found in corpus.sentences.items()
        }, tokenizer

    return make


def test_words_that_begin_behind_the_limit_are_neither_learned_nor_scored(cut):
    whole, tokenizer = cut(64)
    limit = 5
    splits, _ = cut(limit, as_published=True)
    for name, split in splits.items():
        lost = 0
        for before, after in zip(whole[name].sentences, split.sentences, strict=True):
            ids = tokenizer([before["tokens"]], is_split_into_words=True)
            readable = {word for word in ids.word_ids(0)[:limit] if word is not None}
            assert after["tokens"] == before["tokens"][: len(readable)]
            assert after["tags"] == before["tags"][: len(readable)]
            lost += len(before["tokens"]) - len(readable)
        assert lost > 0
        assert split.num_cut_off == lost
        assert f", {lost:,} words cut off" in str(split)
        (labelled,) = split.windows.with_format("numpy")["num_labels"][:].nonzero()
        assert len(labelled) == len(split.sentences), "one window a sentence has labels"
        assert max(map(len, split.windows["input_ids"])) <= limit


def test_nothing_is_cut_off_where_all_fits(cut):
    splits, _ = cut(64, as_published=True)
    assert [split.num_cut_off for split in splits.values()] == [0, 0, 0]


def test_the_saved_tagger_tags_every_word(recipe, tmp_path, corpus):
    assert main([recipe(**as_published(max_length=2, max_steps=2))]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "words cut off" in results["data_lines"]["test"]
    found = Tagger.from_pretrained(tmp_path / "run").evaluate(str(corpus / "test.tsv"))
    assert sum(row["support"] for row in found.to_dict()["types"].values()) == 33
    scored = sum(row["support"] for row in results["scores"]["test"]["types"].values())
    assert 0 < scored < 33


@pytest.mark.parametrize("fields", [{"shared_patterns": "groups:2"}, {"packing": True}, {"label_position": "last"}])
def test_what_the_paper_had_not_is_refused(recipe, capsys, fields):
    [(name, value)] = fields.items()
    assert main([recipe(**as_published(**fields))]) == 1
    assert f"as_published=true, {name}={value}: the paper has no such; drop one" in capsys.readouterr().err


@pytest.mark.parametrize(("processes", "plugin", "named"), [(2, None, "2 processes"), (1, object(), "DeepSpeed")])
def test_the_published_loop_is_of_one_process_that_zeroes_its_own_gradients(processes, plugin, named):
    with pytest.raises(ValueError, match=f"as_published=true with {named}: launch it on one process"):
        AsPublishedTrainer(args=SimpleNamespace(world_size=processes, deepspeed_plugin=plugin))
