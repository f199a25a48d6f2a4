"""docs/fields.md says every field of ours, and every default that is not that of transformers or TRL.

`python tests/tagging/test_fields.py --write` writes it anew.
"""

import dataclasses
import sys
from pathlib import Path

import yaml
from transformers import TrainingArguments
from trl import ModelConfig

from decausal.tagging.arguments import TaggingArguments, TaggingModelConfig, TaggingTrainingArguments

PATH = Path(__file__).resolve().parents[2] / "docs" / "fields.md"
TEXT = """\
# Fields of a recipe

Written by `python tests/tagging/test_fields.py --write`; the test suite fails where this file is out of date.

A recipe takes these, every field of transformers' `TrainingArguments`, and every field of TRL's `ModelConfig` (base
model, quantisation, LoRA). Each can be overridden on the command line as `--field value`;
`python -m decausal.tagging.train RECIPE.yaml --help` lists them all.

| field | default | |
|---|---|---|
{ours}

Of the others, these have a default of their own here:

| field | default | |
|---|---|---|
{others}
"""


def describe() -> str:
    """The page, with a row for each field."""
    others = [
        field
        for ours, theirs in ((TaggingModelConfig, ModelConfig), (TaggingTrainingArguments, TrainingArguments))
        for field in dataclasses.fields(ours)
        if field.name in vars(ours).get("__annotations__", {}) and field.default != vars(theirs).get(field.name)
    ]
    tables = {"ours": dataclasses.fields(TaggingArguments), "others": others}
    return TEXT.format(**{name: "\n".join(map(_row, fields)) for name, fields in tables.items()})


def _row(field: dataclasses.Field) -> str:
    default = "" if field.default is None else yaml.safe_dump(field.default).splitlines()[0]
    return f"| `{field.name}` | {default and f'`{default}`'} | {field.metadata['help']} |"


def test_the_page_of_fields_is_of_these_fields():
    assert PATH.read_text(encoding="utf-8") == describe(), "python tests/tagging/test_fields.py --write"


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    PATH.write_text(describe(), encoding="utf-8")
