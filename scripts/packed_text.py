"""Text in blocks of equal length, for language models: what `pretrain.py` trains on."""

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import datasets
import numpy as np
import pyarrow.compute
import torch
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerBase, TrainerCallback

from decausal._errors import DataError
from decausal._weights import check_place
from decausal.tagging.align import IGNORE_INDEX
from decausal.tagging.reading.files import find_files

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "mask_token")


def read_tokenizer(name: str, block_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer, which will also tell taggers how long an input may be."""
    check_place(name)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    tokens = {role: getattr(tokenizer, role) for role in SPECIAL_TOKENS}
    if None in tokens.values() or len(set(tokens.values())) < len(tokens):
        found = ", ".join(f"{role}={token!r}" for role, token in tokens.items())
        raise ValueError(
            f"tokenizer_name_or_path={name} has {found}: RoBERTa needs all four, each a token of its own, since it "
            f"counts positions by what is no padding."
        )
    tokenizer.model_max_length = block_size
    return tokenizer


def cut_blocks(train_file: str, tokenizer: PreTrainedTokenizerBase, block_size: int) -> tuple[datasets.Dataset, str]:
    """The text in blocks of token ids, column `input_ids`, and what is to be said of it.

    Raises:
        DataError: there is no such file, it is no UTF-8, or it does not fill a block.
    """
    files = [str(path) for path in find_files(train_file) if path.exists() and path.stat().st_size]
    if not files:
        raise DataError(f"train_file={train_file}: there is no such file, or nothing in it.")
    try:
        lines = datasets.load_dataset("text", data_files=files, split="train")
    except datasets.exceptions.DatasetGenerationError as error:
        raise DataError(f"train_file={train_file} cannot be read: {error.__cause__}") from error

    def cut(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        sentences = [line.strip() for line in batch["text"] if line.strip()]
        rows = tokenizer(sentences, add_special_tokens=False, verbose=False)["input_ids"] if sentences else []
        return {"input_ids": [[tokenizer.bos_token_id, *row, tokenizer.eos_token_id] for row in rows]}

    sentences = lines.map(cut, batched=True, remove_columns=lines.column_names)
    lengths = pyarrow.compute.list_value_length(sentences.data.column("input_ids"))
    num_tokens = pyarrow.compute.sum(lengths).as_py() or 0
    text = f"{train_file}: {len(sentences):,} sentences, {num_tokens:,} tokens with <s> and </s>"
    if num_tokens < block_size:
        raise DataError(f"{text}, which do not fill a block of block_size={block_size}: give more text.")
    kind = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))})
    fields = {"sentences": sentences, "block_size": block_size}
    blocks = datasets.Dataset.from_generator(pack, features=kind, gen_kwargs=fields)
    return blocks, f"{text}; {len(blocks):,} blocks of {block_size}, {num_tokens % block_size} tokens left out"


def pack(sentences: datasets.Dataset, block_size: int) -> Iterator[dict[str, list[int]]]:
    """Tokens laid end to end, block by block; the last ones that fill none are dropped.

    Not by `map`, whose batches would each drop a rest.
    """
    rest: list[int] = []
    for batch in sentences.iter(batch_size=1000):
        tokens = [*rest, *chain.from_iterable(batch["input_ids"])]
        end = len(tokens) - len(tokens) % block_size
        yield from ({"input_ids": tokens[start : start + block_size]} for start in range(0, end, block_size))
        rest = tokens[end:]


def digest(blocks: datasets.Dataset) -> str:
    """SHA-256 of the tokens."""
    digest = hashlib.sha256()
    for batch in blocks.with_format("numpy").iter(batch_size=1000):
        digest.update(np.ascontiguousarray(batch["input_ids"], dtype="<i4").tobytes())
    return digest.hexdigest()


class Blocks(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Blocks with labels; behind them one without, to fill batches up. Masks are drawn anew in every epoch."""

    def __init__(self, blocks: datasets.Dataset, collator: DataCollatorForLanguageModeling, seed: int) -> None:
        self.blocks, self.collator, self.seed = blocks, collator, seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # the workers of a data loader see it too

    def __len__(self) -> int:
        return len(self.blocks) + 1

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        numbers = np.random.SeedSequence((self.seed, int(self.epoch), index)).generate_state(1, np.uint64)
        self.collator.generator = torch.Generator().manual_seed(int(numbers[0]))
        row = self.blocks[index % len(self.blocks)]
        batch = self.collator([{"input_ids": row["input_ids"]}])
        if index == len(self.blocks):
            batch["labels"].fill_(IGNORE_INDEX)
        return {"input_ids": batch["input_ids"][0], "labels": batch["labels"][0]}


class CountEpochs(TrainerCallback):
    """Tells the blocks which epoch begins: of several processes, accelerate 1.15 tells it to samplers only."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """In every process, before its data loader begins."""
        self.blocks.epoch.fill_(int(state.epoch or 0))
