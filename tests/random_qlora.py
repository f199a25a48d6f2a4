"""A few QLoRA steps of a random model through the tagger's own model and trainer."""

from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import default_data_collator

from decausal.tagging.arguments import TaggingTrainingArguments
from decausal.tagging.begin import CheckFirst
from decausal.tagging.results import environment
from decausal.tagging.trainer import TaggingTrainer
from gpu_steps import LABELS, build

ROWS, LENGTH = 8, 64


def train(directory: Path, output: Path, device: str, unmask: str, steps: int) -> dict[str, Any]:
    """Learns one batch of random tokens by heart, each labelled by its id.

    Args:
        directory: a model, as `random_model` writes it.
        output: the run's output directory.
        device: "cuda" or "cpu".
        unmask: the pattern.
        steps: optimizer steps.

    Returns:
        `losses` of every step, `audit` and `processes` as the run states them, `loaded_bytes` and `peak_bytes` of GPU
        memory (None on a CPU), and the environment.
    """
    on_gpu = device == "cuda"
    torch.manual_seed(0)
    model = build(directory, device, unmask)
    loaded_bytes = torch.cuda.memory_allocated() if on_gpu else None
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()  # of the training, not of the quantisation
    ids = torch.randint(100, model.get_base_model().config.vocab_size, (ROWS, LENGTH))
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids % len(LABELS)}
    training = TaggingTrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=ROWS,
        train_sampling_strategy="sequential",
        max_steps=steps,
        logging_steps=1,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        gradient_checkpointing=True,
        bf16=True,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
    )
    training._n_gpu = min(training.n_gpu, 1)  # one process would spread its batches over all GPUs
    trainer = TaggingTrainer(
        recipe={},
        model=model,
        args=training,
        train_dataset=datasets.Dataset.from_dict(
            {
                **{name: value.tolist() for name, value in rows.items()},
                "length": rows["attention_mask"].sum(-1).tolist(),
            }
        ),
        data_collator=default_data_collator,
    )
    check_first = CheckFirst(trainer, unmask)
    trainer.add_callback(check_first)
    trainer.train()
    return {
        "rows": ROWS,
        "length": LENGTH,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        **check_first.facts,
        "loaded_bytes": loaded_bytes,
        "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        **environment(),
    }
