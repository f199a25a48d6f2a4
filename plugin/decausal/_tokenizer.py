"""A tokenizer that cuts pre-split words as it cuts running text.

Most byte-level BPE tokenizers write the space in front of a word into its first sub-word. Given a sentence
already split into words they see no spaces, and every word looks like the inside of a longer one: sub-words
the model has hardly ever met at a word's start. Here such a tokenizer is given the space back.
"""

import copy
import json
import warnings
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

# Words, and the text that separates them, for scripts with and without spaces. A capital, digits and a
# contraction are where pre-tokenizers differ; scripts and digits alternate in the second so that no sub-word
# of the running text spans two words.
_WITH_SPACES = (("the", "house", "1995", "don't"), " ")
_WITHOUT_SPACES = (("中", "1995", "中", "7"), "")
_LEADING_SPACES = "^ +"


def load_tokenizer(
    name_or_path: str,
    *,
    add_prefix_space: bool = True,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> PreTrainedTokenizerFast:
    """The tokenizer of a model or checkpoint, ready for pre-split words (see `prepare_tokenizer`).

    Args:
        name_or_path: Hub name or directory.
        add_prefix_space: Whether the language puts spaces between words.
        trust_remote_code: Whether a tokenizer class shipped with the model may run.
        revision: Branch, tag or commit on the hub.

    Raises:
        OSError: If there is no tokenizer there.
        ValueError: As `prepare_tokenizer`.
    """
    tokenizer = read_tokenizer(name_or_path, trust_remote_code=trust_remote_code, revision=revision)
    return prepare_tokenizer(tokenizer, add_prefix_space=add_prefix_space)


def read_tokenizer(
    name_or_path: str, *, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model or checkpoint as its files describe it, for text that nobody has split.

    Args:
        name_or_path: Hub name or directory.
        trust_remote_code: Whether a tokenizer class shipped with the model may run.
        revision: Branch, tag or commit on the hub.

    Raises:
        OSError: If there is no tokenizer there.
    """
    revision = revision or "main"
    config = get_tokenizer_config(name_or_path, revision=revision)
    is_generic = config.get("tokenizer_class") in {"TokenizersBackend", "PreTrainedTokenizerFast"}
    if is_generic and "auto_map" not in config:
        # For some model types (transformers 5.23: qwen2, qwen3_5) AutoTokenizer overrules the class named in
        # the files and builds that class's own pipeline. The generic class has none of its own, so
        # tokenizer.json is the truth, and what `prepare_tokenizer` once changed there survives.
        generic: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(name_or_path, revision=revision)
        return generic
    return AutoTokenizer.from_pretrained(name_or_path, revision=revision, trust_remote_code=trust_remote_code)


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, add_prefix_space: bool = True) -> PreTrainedTokenizerFast:
    """A copy of the tokenizer that cuts pre-split words as running text, and can pad.

    Whether anything needs changing is decided by trying, so a tokenizer that is right already (WordPiece,
    most SentencePiece ones, one prepared before) comes back as it was. The change is part of the files
    that `save_pretrained` writes. Where there is no padding token, the end-of-sequence token serves, else
    the unknown token: the vocabulary never grows. Truncation is set to cut on the right.

    Character offsets of a byte-level tokenizer then leave out the space that a sub-word begins with: in
    `"the house"` those of `Ġhouse` are (4, 9). A SentencePiece tokenizer has no step for that: `▁house` is (3, 9).

    Args:
        tokenizer: Any fast tokenizer; it is left untouched.
        add_prefix_space: True where words are separated by spaces; False for languages without (Chinese,
            Japanese, Thai), whose words then get none, the first one included.

    Warns:
        UserWarning: If pre-split words still differ from running text; they then are cut as the given tokenizer does.

    Raises:
        ValueError: If the tokenizer is not a fast one, or has no token to pad with.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"tokenizer={type(tokenizer).__name__} is not a fast tokenizer, and only those (backed by the "
            "`tokenizers` library) know which word a sub-word belongs to: use a model that has a "
            "tokenizer.json, or convert this one to PreTrainedTokenizerFast"
        )
    prepared = _trim_offsets(_space_words(copy.deepcopy(tokenizer), add_prefix_space), add_prefix_space)
    prepared.truncation_side = "right"
    if prepared.pad_token is None:
        prepared.pad_token = prepared.eos_token or prepared.unk_token
    if prepared.pad_token is None:
        raise ValueError(
            f"tokenizer={tokenizer.name_or_path!r} has no padding, end-of-sequence or unknown token, and "
            "batches need one to pad with: set tokenizer.pad_token to a token of its vocabulary"
        )
    return prepared


def _space_words(tokenizer: PreTrainedTokenizerFast, add_prefix_space: bool) -> PreTrainedTokenizerFast:
    words, separator = _WITH_SPACES if add_prefix_space else _WITHOUT_SPACES
    text = separator.join(words)
    running, first = _cut_text(tokenizer, text), _cut_text(tokenizer, words[0])
    if first + _cut_later_words(tokenizer, words) == running:
        return tokenizer
    # A class with a pipeline of its own would build that again on loading and lose the change.
    changed = _make_generic(tokenizer)
    backend = changed.backend_tokenizer
    if add_prefix_space:
        # Before everything else: the prefix space of a ByteLevel that comes late in a Sequence goes to every
        # piece of a word which an earlier step has split ("1995" by digits, "don't" at the apostrophe).
        # A text's own spaces go first, so that its first word too has one.
        one_space = [normalizers.Replace(Regex(_LEADING_SPACES), ""), normalizers.Prepend(" ")]
        steps = [*one_space, *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = normalizers.Sequence(steps)
    else:
        _remove_prefixes(backend)
    later = _cut_later_words(changed, words)
    if first + later == running:
        return changed
    warnings.warn(
        f"tokenizer={tokenizer.name_or_path!r}, add_prefix_space={add_prefix_space}: the text {text!r} is "
        f"cut into {tokenizer.convert_ids_to_tokens(running)}, and its words from the second on, given as a "
        f"list, cannot be cut the same way (best: {tokenizer.convert_ids_to_tokens(later)}). The tokenizer "
        "goes on as it did; the model will see words cut as in no text it was trained on, and scores may suffer",
        stacklevel=3,
    )
    return tokenizer


def _trim_offsets(tokenizer: PreTrainedTokenizerFast, add_prefix_space: bool) -> PreTrainedTokenizerFast:
    if not _has_spaces_in_offsets(tokenizer):
        return tokenizer
    trimmed = _make_generic(tokenizer)
    backend = trimmed.backend_tokenizer
    # First, because a prefix space, which is in no text, is looked for in the very first sub-word only.
    trim = processors.ByteLevel(add_prefix_space=add_prefix_space, trim_offsets=True)
    backend.post_processor = processors.Sequence([trim, *([backend.post_processor] if backend.post_processor else [])])
    return tokenizer if _has_spaces_in_offsets(trimmed) else trimmed


def _has_spaces_in_offsets(tokenizer: PreTrainedTokenizerFast) -> bool:
    words, separator = _WITH_SPACES
    text = separator.join(words)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return any(separator in text[start:end] for start, end in offsets)


def _cut_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _cut_later_words(tokenizer: PreTrainedTokenizerFast, words: tuple[str, ...]) -> list[int]:
    """Sub-words of all words but the first, which a text may start without the space the others have."""
    encoded = tokenizer(list(words), is_split_into_words=True, add_special_tokens=False)
    return [i for i, word in zip(encoded["input_ids"], encoded.word_ids(), strict=True) if word != 0]


def _make_generic(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same tokenizer in the class that keeps its whole pipeline in tokenizer.json."""
    generic = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        **tokenizer.special_tokens_map,
        extra_special_tokens=tokenizer.extra_special_tokens,
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
        padding_side=tokenizer.padding_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
        split_special_tokens=tokenizer.split_special_tokens,
        chat_template=tokenizer.chat_template,
    )
    generic.name_or_path = tokenizer.name_or_path
    return generic


def _remove_prefixes(backend: Tokenizer) -> None:
    """Take from every step whatever it puts in front of a word."""
    # The library rebuilds these parts from JSON only as parts of a whole tokenizer; an empty one will do.
    parts: dict[str, Any] = {"model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}, "added_tokens": []}
    for name in ("normalizer", "pre_tokenizer", "post_processor"):
        part = getattr(backend, name)
        parts[name] = part and _without_prefix(json.loads(part.__getstate__()))
    bare = Tokenizer.from_str(json.dumps(parts))
    backend.normalizer, backend.pre_tokenizer = bare.normalizer, bare.pre_tokenizer
    backend.post_processor = bare.post_processor


def _without_prefix(step: dict[str, Any]) -> dict[str, Any] | None:
    match step:
        case {"type": "Sequence", "normalizers": list(children)}:
            return step | {"normalizers": [kept for child in children if (kept := _without_prefix(child))]}
        case {"type": "Sequence", "pretokenizers": list(children)}:
            return step | {"pretokenizers": [_without_prefix(child) for child in children]}
        case {"type": "Sequence", "processors": list(children)}:
            return step | {"processors": [_without_prefix(child) for child in children]}
        case {"type": "Replace", "pattern": {"Regex": pattern}} if pattern == _LEADING_SPACES:
            return None
        case {"type": "Prepend"}:
            return None
        case {"type": "Metaspace"}:
            return step | {"prepend_scheme": "never"}
        case {"type": "ByteLevel", "add_prefix_space": True}:
            return step | {"add_prefix_space": False}
    return step
