"""Trains with the classes and the loop of Dukić & Šnajder's code, and says how fast: see README.md beside this file.

python run_paper.py train JOB.json
"""

import json
import sys
import time
import types
from pathlib import Path

import torch
from accelerate import Accelerator
from peft import LoraConfig, TaskType, get_peft_model
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, RandomSampler
from transformers import DataCollatorForTokenClassification, LlamaConfig, PreTrainedTokenizerFast

job = json.loads(Path(sys.argv[2]).read_text())
sys.path.insert(0, str(Path(__file__).parents[2] / ".peers" / "clone" / "baselines"))
torch.set_num_threads(job["threads"])
torch.manual_seed(job["seed"])

from llama_model_layers_unlocking import LlamaForTokenClassificationLockUnlockAttention  # noqa: E402
from trainer_layers_unlocking import Trainer  # noqa: E402

MAX_LEN = 128  # of its dataset.py
ACCUMULATION = 4  # of its train_decoder_model_layers_unlocking.py


class Sentences(torch.utils.data.Dataset):
    """As its dataset.py makes them: the first sub-word of a word carries its label."""

    def __init__(self) -> None:
        # Its versions read neither today's tokenizer_config.json nor pairs of merges.
        saved = json.loads((Path(job["model"]) / "tokenizer.json").read_text())
        saved["model"]["merges"] = [
            pair if isinstance(pair, str) else " ".join(pair) for pair in saved["model"].get("merges", [])
        ]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(saved)), pad_token=job["pad_token"], add_prefix_space=True
        )
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        self.collate = DataCollatorForTokenClassification(tokenizer, padding="longest")
        self.rows = []
        for words, tags in zip(job["tokens"], job["tags"], strict=True):
            row = tokenizer(words, is_split_into_words=True, truncation=True, max_length=MAX_LEN)
            ids, before = [], None
            for word in row.word_ids():
                ids.append(-100 if word is None or word == before else job["labels"].index(tags[word]))
                before = word
            self.rows.append({**row, "labels": ids})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.rows[index]


def build() -> torch.nn.Module:
    """Its model: in float32, as it computes in training, since its bitsandbytes has no 4 bits on a CPU."""
    config = LlamaConfig.from_pretrained(job["model"], num_labels=len(job["labels"]), rope_theta=job["rope_theta"])
    model = LlamaForTokenClassificationLockUnlockAttention.from_pretrained(job["model"], config=config)
    model.config.pad_token_id = model.config.pad_token_id or model.config.eos_token_id
    model.config.use_cache = False
    lora = LoraConfig(task_type=TaskType.TOKEN_CLS, bias="none", **job["lora"])
    return get_peft_model(model, lora)


class Timed(Trainer):
    """Its loop, without what it saves at the end."""

    def save_model(self, *_: object) -> str:
        """Nothing is saved."""
        return ""


data = Sentences()
model = build()
accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATION, cpu=True)
loader = DataLoader(
    data,
    batch_size=job["batch_size"],
    collate_fn=data.collate,
    sampler=RandomSampler(data, generator=torch.Generator().manual_seed(job["seed"])),
)
weights = [weight for weight in model.parameters() if weight.requires_grad]
optimizer = torch.optim.AdamW(weights, lr=2e-4, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(loader))
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
open_layers = [index in job["layers"] for index in range(model.config.num_hidden_layers)]
trainer = Timed(
    model=model, loader=loader, optimizer=optimizer, scheduler=scheduler, accelerator=accelerator, seed=job["seed"],
    epochs=1, run=types.SimpleNamespace(log=lambda _: None), MODEL_SAVE_PATH="", unlock_config=open_layers,
    unlock_config_id=0,
)  # fmt: skip
for batch in list(loader)[:1]:
    model(**batch, unlock_config=open_layers).loss.backward()  # warms up
model.zero_grad()
begin = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - begin
print(sum(len(row["input_ids"]) for row in data.rows) / seconds)
