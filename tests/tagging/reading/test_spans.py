from decausal.tagging.reading.spans import Span, split_words, tag_spans


def test_a_word_is_a_run_of_letters_or_one_other_visible_character():
    assert split_words(" Don't pay $5.20,\tåse_1!") == [
        "Don",
        "'",
        "t",
        "pay",
        "$",
        "5",
        ".",
        "20",
        ",",
        "åse_1",
        "!",
    ]


def test_marks_belong_to_their_letters():
    assert split_words("हिन्दी में Jose\u0301, ภาษาไทย") == ["हिन्दी", "में", "Jose\u0301", ",", "ภาษาไทย"]


def test_han_and_kana_are_words_of_one_character():
    assert split_words("東京タ Tokyo2020") == ["東", "京", "タ", "Tokyo2020"]


def test_spans_on_word_boundaries_become_iob2_tags():
    tagged = tag_spans("New York beats Rome.", [Span(15, 19, "LOC"), Span(0, 8, "LOC")])

    assert tagged.words == ["New", "York", "beats", "Rome", "."]
    assert tagged.tags == ["B-LOC", "I-LOC", "O", "B-LOC", "O"]
    assert tagged.dropped == []


def test_blanks_at_the_ends_of_a_span_do_not_count():
    assert tag_spans("in Rome now", [Span(2, 8, "LOC")]).tags == ["O", "B-LOC", "O"]


def test_a_span_inside_a_word_or_of_blanks_alone_is_dropped_with_the_reason():
    inside, blank = Span(3, 6, "LOC"), Span(2, 3, "LOC")

    tagged = tag_spans("in Rome now", [inside, blank])

    assert tagged.tags == ["O", "O", "O"]
    assert tagged.dropped == [
        (blank, "does not begin and end where words do"),
        (inside, "does not begin and end where words do"),
    ]


def test_of_overlapping_spans_the_earlier_and_then_the_longer_is_kept():
    inner, outer, crossing = Span(0, 3, "A"), Span(0, 8, "B"), Span(4, 14, "C")

    tagged = tag_spans("New York beats Rome", [inner, crossing, outer])

    assert tagged.tags == ["B-B", "I-B", "O", "O"]
    assert tagged.dropped == [(inner, "overlaps another"), (crossing, "overlaps another")]
