"""Token classification by transformers' Trainer, an ordinary script: words and tags from JSON lines, seqeval's F1.

    accelerate launch run_ner.py --model_name_or_path MODEL --output_dir outputs/ner --num_train_epochs 3 \
        --train_file train.jsonl --validation_file validation.jsonl

Unmasked by the one line below, or without it by writing in front of the command: decausal run --unmask 0011 --
"""

from dataclasses import dataclass

import numpy as np
from datasets import load_dataset
from seqeval.metrics import f1_score
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)


@dataclass
class Arguments:
    """Beside those of the Trainer."""

    model_name_or_path: str
    train_file: str
    validation_file: str
    max_seq_length: int = 512


def main() -> None:
    """Train, save and score."""
    arguments, training = HfArgumentParser((Arguments, TrainingArguments)).parse_args_into_dataclasses()
    set_seed(training.seed)
    data = load_dataset("json", data_files={"train": arguments.train_file, "validation": arguments.validation_file})
    labels = sorted({tag for tags in data["train"]["ner_tags"] for tag in tags})
    label2id = {label: index for index, label in enumerate(labels)}

    tokenizer = AutoTokenizer.from_pretrained(arguments.model_name_or_path)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForTokenClassification.from_pretrained(
        arguments.model_name_or_path, id2label=dict(enumerate(labels)), label2id=label2id
    )
    # import decausal; decausal.unmask(model, "0011")  # <- the one line

    def tokenize(rows: dict) -> dict:
        """The first sub-word of each word has the word's label."""
        encoded = tokenizer(
            rows["tokens"], is_split_into_words=True, truncation=True, max_length=arguments.max_seq_length
        )
        encoded["labels"] = []
        for row, tags in enumerate(rows["ner_tags"]):
            words = encoded.word_ids(row)
            is_first = [
                word is not None and word != before for word, before in zip(words, [None, *words[:-1]], strict=True)
            ]
            encoded["labels"].append(
                [label2id[tags[w]] if first else -100 for w, first in zip(words, is_first, strict=True)]
            )
        return encoded

    def score(prediction: tuple) -> dict[str, float]:
        rows = zip(np.argmax(prediction[0], axis=-1), prediction[1], strict=True)
        pairs = [[(labels[p], labels[g]) for p, g in zip(*row, strict=True) if g != -100] for row in rows]
        return {"f1": f1_score([[g for _, g in row] for row in pairs], [[p for p, _ in row] for row in pairs])}

    data = data.map(tokenize, batched=True, remove_columns=data["train"].column_names)
    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer),
        compute_metrics=score,
    )
    trainer.train()
    trainer.save_model()
    trainer.log_metrics("eval", trainer.evaluate())


if __name__ == "__main__":
    main()
