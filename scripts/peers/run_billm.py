"""Trains and tags with BiLLM as its NER example does, and says how fast: see README.md beside this file.

python run_billm.py train JOB.json
python run_billm.py tag JOB.json
python run_billm.py tag_tuned JOB.json
python run_billm.py leak JOB.json       what padding changes
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

what, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
os.environ["BiLLM_START_INDEX"] = str(min(job["layers"]))  # noqa: SIM112 (read when billm is imported)

import billm.modeling_llama  # noqa: E402
import torch  # noqa: E402
from billm import LlamaForTokenClassification  # noqa: E402
from datasets import Dataset  # noqa: E402
from peft import LoraConfig, TaskType, get_peft_model  # noqa: E402
from transformers import (  # noqa: E402
    DataCollatorForTokenClassification,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    pipeline,
)

# It expects the name in transformers.models.llama.modeling_llama, from where 4.46, its oldest version, has dropped it.
billm.modeling_llama.CrossEntropyLoss = torch.nn.CrossEntropyLoss
MAX_LENGTH = 64  # of its example
BATCH_SIZES = (1, 8, 16, 32, 64)
torch.manual_seed(job["seed"])
tokenizer = PreTrainedTokenizerFast.from_pretrained(job["model"], add_prefix_space=True)
tokenizer.pad_token = job["pad_token"]
tokenizer.model_input_names = ["input_ids", "attention_mask"]
labels = dict(enumerate(job["labels"]))
config = LlamaConfig.from_pretrained(
    job["model"], id2label=labels, label2id={name: i for i, name in labels.items()}, rope_theta=job["rope_theta"]
)
model = LlamaForTokenClassification.from_pretrained(job["model"], config=config).bfloat16()
model = get_peft_model(model, LoraConfig(task_type=TaskType.TOKEN_CLS, inference_mode=False, **job["lora"]))


def align(examples: dict) -> dict:
    """Its tokenize_and_align_labels: a thousand sentences at a time are padded to the longest of them."""
    rows = tokenizer(
        examples["tokens"], is_split_into_words=True, padding="longest", max_length=MAX_LENGTH, truncation=True
    )
    rows["labels"] = []
    for i, tags in enumerate(examples["tags"]):
        ids, before = [], None
        for word in rows.word_ids(batch_index=i):
            ids.append(-100 if word is None or word == before else job["labels"].index(tags[word]))
            before = word
        rows["labels"].append(ids)
    return rows


class Stopwatch(TrainerCallback):
    """The seconds of all steps but the first, which warms up."""

    def __init__(self) -> None:
        self.begin = self.end = 0.0

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        """Notes the time."""
        self.begin, self.end = self.begin or time.perf_counter(), time.perf_counter()


def train() -> float:
    """Real sub-words a second."""
    data = Dataset.from_dict({"tokens": job["tokens"], "tags": job["tags"]}).map(align, batched=True)
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as directory:
        arguments = TrainingArguments(
            output_dir=directory, learning_rate=1e-4, per_device_train_batch_size=job["batch_size"], weight_decay=0.01,
            num_train_epochs=1, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, seed=job["seed"],
        )  # fmt: skip
        collator = DataCollatorForTokenClassification(tokenizer=tokenizer)
        trainer = Trainer(model, arguments, collator, data, processing_class=tokenizer, callbacks=[stopwatch])
        torch.set_num_threads(job["threads"])  # accelerate has set one
        trainer.train()
    steps = -(-len(data) // job["batch_size"])
    return sum(map(sum, data["attention_mask"])) * (steps - 1) / steps / (stopwatch.end - stopwatch.begin)


def tag(dtypes: Sequence[torch.dtype], batch_sizes: Sequence[int]) -> float:
    """Sentences a second, with the batch size and the precision that are fastest, the adapter merged."""
    torch.set_num_threads(job["threads"])
    merged = model.merge_and_unload().eval()
    texts = [" ".join(words) for words in job["tokens"]]
    best = 0.0
    for dtype in dtypes:
        tagger = pipeline(
            "token-classification", model=merged.to(dtype), tokenizer=tokenizer, aggregation_strategy="simple"
        )
        tagger(texts[:64], batch_size=batch_sizes[-1])  # warms up
        for size in batch_sizes:
            begin = time.perf_counter()
            tagger(texts, batch_size=size)
            best = max(best, len(texts) / (time.perf_counter() - begin))
    return best


@torch.no_grad()
def leak() -> float:
    """The largest difference, 0-1, of a label's probability for a sentence alone and padded beside longer ones."""
    torch.set_num_threads(job["threads"])
    model.float().eval()

    def probabilities(sentences: list[list[str]]) -> torch.Tensor:
        rows = tokenizer(sentences, is_split_into_words=True, padding=True, return_tensors="pt")
        return model(**rows).logits.softmax(-1)

    largest = 0.0
    for start in range(0, len(job["tokens"]), job["batch_size"]):
        batch = job["tokens"][start : start + job["batch_size"]]
        for words, beside in zip(batch, probabilities(batch), strict=True):
            [alone] = probabilities([words])
            largest = max(largest, (beside[: len(alone)] - alone).abs().max().item())
    return largest


measured = {
    "train": train,
    "tag": lambda: tag([torch.float32], [1]),  # as its README does, which merges the adapter
    "tag_tuned": lambda: tag([torch.float32, torch.bfloat16], BATCH_SIZES),
    "leak": leak,
}
print(measured[what]())
