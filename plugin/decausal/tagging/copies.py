"""Sequence repetition: a window is given several times, one copy after the other, and tagged in the last one.

There even a causal layer has seen the whole sentence. The window `<s> a b c` with `num_copies=2`:

    input_ids   <s> a  b  c <s> a  b  c
    word_idx     -  -  -  -  -  0  1  2        -  no word is read here, and none is labelled

As in the code of Kukić et al. (EACL Findings 2026, arXiv 2601.17585; their k is `num_copies - 1`), a copy is the whole
window with its special tokens, nothing stands between two copies, and positions run on. Unlike there, where padding
ends each copy, it comes behind the last one, so that a window is tagged as if it were alone.
"""

from decausal.tagging.windows import NOT_READ


def copy_length(max_length: int, num_copies: int) -> int:
    """The most sub-words of one copy of a window, special tokens included.

    Args:
        max_length: the most sub-words of all its copies.
        num_copies: how many there are.
    """
    return max_length // num_copies


def find_room(max_length: int, stride: int, num_copies: int, num_special: int) -> int:
    """How many sub-words of a sentence one copy of a window holds.

    Args:
        max_length: as in `copy_length`.
        stride: sub-words that neighbouring windows share.
        num_copies: as in `copy_length`.
        num_special: special tokens of a copy.

    Raises:
        ValueError: there is no copy, or windows could not move on.
    """
    if num_copies < 1:
        raise ValueError(f"num_copies={num_copies}: a window must be given at least once; give 1 or more")
    room = copy_length(max_length, num_copies) - num_special
    if not 0 <= stride < room:
        given, holder, way_out = f"max_length={max_length}", "a window", "raise max_length or change stride"
        if num_copies > 1:
            given, holder = f"{given}, num_copies={num_copies}", f"each of {num_copies} copies of a window"
            way_out = "raise max_length, lower num_copies, or change stride"
        raise ValueError(
            f"{given}, stride={stride}: with {num_special} special tokens {holder} holds {max(room, 0)} sub-words, and "
            f"neighbours must share fewer (0 or more): {way_out}"
        )
    return room


def repeat(input_ids: list[int], word_idx: list[int], num_copies: int) -> tuple[list[int], list[int]]:
    """What a model is given for a window, and where its words are read in that; both parallel.

    Args:
        input_ids: of the window, special tokens included.
        word_idx: parallel; the word that is read on a sub-word, else -1.
        num_copies: how many copies the model is given.
    """
    return input_ids * num_copies, [NOT_READ] * (len(word_idx) * (num_copies - 1)) + word_idx


def describe_copies(num_copies: int) -> str:
    """What a run says of it; nothing where windows are given once."""
    if num_copies == 1:
        return ""
    return f"num_copies={num_copies}: every window is given {num_copies} times in a row, and tagged in the last copy"
