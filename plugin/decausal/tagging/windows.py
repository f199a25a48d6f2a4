"""Where each word of a sentence in several overlapping windows is read.

A sentence longer than a window is cut into windows of equal length that share sub-words:

    sub-words   a b c d e f g h i j        length 6, of which 4 are shared, so each starts 2 later
    window 0    a b c d - -
    window 1        - - e f - -            -  present, but read in another window,
    window 2            - - g h i j           which shows more of its surroundings

A word is read where it has most context on its poorer side, counted in sub-words between it and the border of
the window. The sentence's own ends need no exception: a word near its start has little on its left in the first
window, but still less in every later one.
"""

from collections.abc import Sequence
from typing import Literal

NOT_READ = -1

LabelPosition = Literal["first", "last"]


def place_words(
    windows: Sequence[Sequence[int | None]], step: int, position: LabelPosition = "first"
) -> list[list[int]]:
    """For each window, parallel to its sub-words: the word that is read there, else -1.

    Every word that has a sub-word is read exactly once, on its first or last one. A word cut by a border is
    read in a window that holds it whole, if there is one.

    Args:
        windows: The windows of one sentence, in order: for each sub-word the index of its word, None for
            special tokens (`BatchEncoding.word_ids`).
        step: Sub-words from one window's start to the next one's.
        position: The sub-word on which a word is read.
    """
    contents = [_number(word_ids, n * step) for n, word_ids in enumerate(windows)]
    spans: dict[int, tuple[int, int]] = {}
    for content in contents:
        for place, (_, word) in content.items():
            first, last = spans.get(word, (place, place))
            spans[word] = min(first, place), max(last, place)
    anchors = {word: first if position == "first" else last for word, (first, last) in spans.items()}

    most: dict[int, int] = {}
    chosen: dict[int, int] = {}
    for n, content in enumerate(contents):
        start, stop = n * step, n * step + len(content)
        for word in {word for place, (_, word) in content.items() if place == anchors[word]}:
            first, last = spans[word]
            # Negative where the border cuts the word itself: a window that holds it whole always wins.
            context = min(first - start, stop - 1 - last)
            if word not in chosen or context > most[word]:
                most[word], chosen[word] = context, n

    read = [[NOT_READ] * len(word_ids) for word_ids in windows]
    for word, n in chosen.items():
        index, _ = contents[n][anchors[word]]
        read[n][index] = word
    return read


def _number(word_ids: Sequence[int | None], start: int) -> dict[int, tuple[int, int]]:
    """Place in the sentence -> (index in the window, word), for every sub-word that belongs to a word."""
    words = [(index, word) for index, word in enumerate(word_ids) if word is not None]
    return dict(enumerate(words, start))
