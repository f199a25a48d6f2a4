import math

import pytest
import torch
from transformers import DataCollatorForTokenClassification, Trainer

from decausal._tokenizer import load_tokenizer
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import build_model
from decausal.tagging.splits import Corpus, Split
from decausal.tagging.train import train
from decausal.tagging.trainer import TaggingTrainer, token_mean_loss

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def built(recipe: str, trainer_class: type[Trainer], batch: int, accumulation: int) -> Trainer:
    """A trainer that will take one optimizer step on the first 8 sentences, without dropout."""
    settings = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "max_steps": 1,
        "logging_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        "max_train_samples": 8,
    }
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    tagging, model_config, training = parse_recipe([recipe, *flags])
    torch.manual_seed(0)
    corpus = Corpus.read(tagging)
    tokenizer = load_tokenizer(model_config.model_name_or_path)
    model = build_model(tagging, model_config, training, corpus.labels, tokenizer.pad_token_id)
    for module in model.modules():
        module.p = 0.0 if isinstance(module, torch.nn.Dropout) else getattr(module, "p", None)
    ours = {"recipe": {}} if trainer_class is TaggingTrainer else {}
    return trainer_class(
        **ours,
        model=model,
        args=training,
        train_dataset=Split.of(corpus.sentences["train"], tokenizer, corpus.labels, tagging).windows,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )


def one_step(recipe: str, trainer_class: type[Trainer], batch: int, accumulation: int) -> dict[str, float]:
    """Loss and gradient norm of that step."""
    trainer = built(recipe, trainer_class, batch, accumulation)
    trainer.train()
    return trainer.state.log_history[0]


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 2), (2, 4)])
def test_a_step_is_one_mean_however_it_is_cut_into_micro_batches(recipe, batch, accumulation):
    whole = one_step(recipe(), TaggingTrainer, 8, 1)
    cut = one_step(recipe(), TaggingTrainer, batch, accumulation)
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)


def test_the_stock_trainer_is_off_by_the_number_of_micro_batches(recipe):
    whole, cut = (one_step(recipe(), Trainer, 8 // n, n) for n in (1, 4))
    assert cut["grad_norm"] / whole["grad_norm"] == pytest.approx(4, rel=0.2)


def test_the_loss_is_the_mean_over_labelled_sub_words():
    logits = torch.randn(2, 3, 5)
    labels = torch.tensor([[1, -100, 2], [-100, -100, 4]])
    picked = torch.stack([logits[0, 0], logits[0, 2], logits[1, 2]])
    expected = torch.nn.functional.cross_entropy(picked, torch.tensor([1, 2, 4]))
    outputs = type("Outputs", (), {"logits": logits})
    torch.testing.assert_close(token_mean_loss(outputs, labels), expected)
    torch.testing.assert_close(token_mean_loss(outputs, labels, torch.tensor(6)), expected / 2)


def test_labels_are_smoothed_as_asked(recipe):
    plain = one_step(recipe(), TaggingTrainer, 8, 1)
    smoothed = one_step(recipe(label_smoothing_factor=0.5), TaggingTrainer, 8, 1)
    assert smoothed["grad_norm"] < 0.8 * plain["grad_norm"]


def test_a_step_without_a_labelled_sub_word_is_refused(recipe):
    trainer = built(recipe(), TaggingTrainer, 2, 1)
    trainer.train_dataset = trainer.train_dataset.map(lambda row: {"labels": [-100] * len(row["labels"])})
    with pytest.raises(ValueError, match="step 1 has 1 batches without a single labelled sub-word"):
        trainer.train()


def test_a_cosine_ends_at_zero_after_the_last_optimizer_step(recipe):
    training = {"lr_scheduler_type": "cosine", "logging_steps": 1, "gradient_accumulation_steps": 2, "max_steps": 8}
    results = train(*parse_recipe([recipe(**training)]))
    rates = [entry["learning_rate"] for entry in results["log"] if "learning_rate" in entry]
    assert rates == pytest.approx([1e-2 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])
