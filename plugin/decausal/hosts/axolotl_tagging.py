"""Axolotl: `datasets: [{path: ..., type: decausal.hosts.axolotl_tagging}]`, annotated words as windows of sub-words."""

from typing import Any

import datasets
from axolotl.prompt_tokenizers import DatasetWrappingStrategy

from decausal._tokenizer import prepare_tokenizer
from decausal.hosts._axolotl_yaml import alignment_of
from decausal.tagging.align import align


def load(tokenizer: Any, cfg: Any) -> "Windows":
    """What Axolotl calls for a data set of this type.

    Raises:
        ValueError: the YAML does not list our plugin, which reads the data.
    """
    if not cfg.get("decausal") or not cfg["decausal"].get("labels"):
        raise ValueError(
            "datasets of type decausal.hosts.axolotl_tagging are read by our plugin: add plugins: "
            '[decausal.hosts.axolotl.DecausalPlugin] and decausal: {unmask: "0011"}'
        )
    return Windows(tokenizer, cfg)


class Windows(DatasetWrappingStrategy):  # type: ignore[misc]
    """Cuts sentences into the windows that a model is given, and keeps what puts them together again.

    Args:
        tokenizer: as Axolotl has loaded it.
        cfg: Axolotl's, validated.
    """

    def __init__(self, tokenizer: Any, cfg: Any) -> None:
        self.alignment = alignment_of(cfg)
        self.tokenizer = prepare_tokenizer(tokenizer, self.alignment.add_prefix_space)
        self.label2id = {label: i for i, label in enumerate(cfg["decausal"]["labels"])}

    def wrap_dataset(
        self, dataset: datasets.Dataset, process_count: int | None = None, keep_in_memory: bool = False, **_: Any
    ) -> datasets.Dataset:
        """The columns that `align` makes, and `tags`: those of the whole sentence, beside each of its windows.

        Args:
            dataset: with the columns `tokens` and `tags`, IOB2.
            process_count: of `datasets.map`.
            keep_in_memory: of `datasets.map`.
        """
        return dataset.map(
            self._align,
            with_indices=True,
            batched=True,
            num_proc=process_count,
            keep_in_memory=keep_in_memory,
            remove_columns=dataset.column_names,
            desc="Windows of sub-words",
        )

    def _align(self, batch: dict[str, list[list[str]]], indices: list[int]) -> dict[str, Any]:
        known = [[tag if tag in self.label2id else "O" for tag in tags] for tags in batch["tags"]]
        columns = align(
            batch["tokens"],
            known,
            self.tokenizer,
            self.label2id,
            max_length=self.alignment.max_length,
            stride=self.alignment.stride,
            label_position=self.alignment.label_position,
            num_copies=self.alignment.num_copies,
            first_sentence_idx=indices[0],
        )
        return {**columns, "tags": [batch["tags"][idx - indices[0]] for idx in columns["sentence_idx"]]}
