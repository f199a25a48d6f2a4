"""Write the sentences of an annotated corpus as text, one a line, and train a small tokenizer like RoBERTa's on it.

    python scripts/make_text.py ../shared/data/litbank_events text/ --vocab_size 8000

Makes text/text.txt and the tokenizer text/tokenizer, for `scripts/pretrain.py` on a machine without a model hub. It is
byte-level BPE with the special tokens of roberta-base.
"""

import argparse
import json
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaTokenizer

from decausal.tagging.data import read_sentences

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", help="annotated sentences: a file, a directory or a pattern in quotes")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--vocab_size", type=int, default=8000)
    options = parser.parse_args(arguments)
    sentences, report = read_sentences(options.corpus)
    lines = [" ".join(words) for words in sentences["tokens"]]
    options.directory.mkdir(parents=True, exist_ok=True)
    (options.directory / "text.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        lines, vocab_size=options.vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    model = json.loads(bpe.to_str())["model"]
    tokenizer = RobertaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    tokenizer.save_pretrained(options.directory / "tokenizer")
    print(f"{report}; {len(tokenizer):,} tokens in the vocabulary")


if __name__ == "__main__":
    main()
