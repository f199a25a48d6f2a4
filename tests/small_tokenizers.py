"""Small tokenizers of every kind in use, made from a few sentences, in the classes that real models have."""

import json
from collections.abc import Callable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

TEXT = [
    "the house in the valley was built in 1995 and sold in 2007",
    "I don't know who owned the houses before the war",
    "Anna wrote to the mayor of Weston: we won't move, she said",
    "in the spring of 1987 the river rose above the old bridge",
    "the mayor's office didn't answer 12 letters from the valley",
] * 4

LETTERS_OR_THREE_DIGITS = Regex(r"'\p{L}+|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+")


def gpt2() -> GPT2Tokenizer:
    model = _train_bytes(pre_tokenizers.ByteLevel(add_prefix_space=False))
    return GPT2Tokenizer(vocab=model["vocab"], merges=_pairs(model))


def llama3() -> PreTrainedTokenizerFast:
    """Special token in front; no class of its own: tokenizer.json holds everything."""
    splits = pre_tokenizers.Split(LETTERS_OR_THREE_DIGITS, "isolated")
    pipeline = pre_tokenizers.Sequence([splits, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer = _byte_level(pipeline)
    start = ("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))
    tokenizer.post_processor = processors.TemplateProcessing("<|endoftext|> $A", special_tokens=[start])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def qwen2() -> Qwen2Tokenizer:
    splits = pre_tokenizers.Split(LETTERS_OR_THREE_DIGITS, "isolated")
    model = _train_bytes(pre_tokenizers.Sequence([splits, pre_tokenizers.ByteLevel(False, use_regex=False)]))
    return Qwen2Tokenizer(vocab=model["vocab"], merges=_pairs(model))


def smollm2() -> PreTrainedTokenizerFast:
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer = _byte_level(pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(False)]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def llama2() -> LlamaTokenizer:
    """Metaspace pre-tokenizer, which puts the mark of a space in front of a text."""
    model = _train_pieces(["<unk>", "<s>", "</s>"])
    return LlamaTokenizer(vocab=model["vocab"], merges=_pairs(model))


def gemma() -> GemmaTokenizer:
    """A normalizer turns spaces into marks, and puts none in front of a text."""
    model = _train_pieces(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    return GemmaTokenizer(vocab=model["vocab"], merges=_pairs(model))


def bert() -> BertTokenizer:
    return BertTokenizer(vocab=_word_pieces())


ALL: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "gpt2": gpt2,
    "llama3": llama3,
    "qwen2": qwen2,
    "smollm2": smollm2,
    "llama2": llama2,
    "gemma": gemma,
    "bert": bert,
}


def _byte_level(pipeline: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pipeline
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _train_bytes(pipeline: pre_tokenizers.PreTokenizer) -> dict[str, Any]:
    return json.loads(_byte_level(pipeline).to_str())["model"]


def _train_pieces(special: list[str]) -> dict[str, Any]:
    """SentencePiece-like BPE with byte fallback; no piece spans two words, as in the real ones."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[*special, *bytes_], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return json.loads(tokenizer.to_str())["model"]


def _word_pieces() -> dict[str, int]:
    """Short words whole, longer ones letter by letter; not trained, as WordPieceTrainer breaks ties at random."""
    words = {word for line in TEXT for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(line.lower())}
    letters = {letter for word in words for letter in word}
    pieces = {word for word in words if len(word) < 7} | letters | {"##" + letter for letter in letters}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {piece: index for index, piece in enumerate([*special, *sorted(pieces)])}


def _pairs(model: dict[str, Any]) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in model["merges"]]
