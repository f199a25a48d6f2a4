import pytest

from decausal.tagging.tags import TagError, TagScheme, detect_scheme, is_tag, to_iob2


@pytest.mark.parametrize(
    ("scheme", "tags", "expected", "num_converted", "num_repaired"),
    [
        ("IOB2", "O B-PER I-PER O", "O B-PER I-PER O", 0, 0),
        ("IOB2", "O I-PER I-PER O", "O B-PER I-PER O", 0, 1),
        ("IOB2", "B-PER I-LOC", "B-PER B-LOC", 0, 1),
        ("IOB1", "I-PER I-PER B-PER O", "B-PER I-PER B-PER O", 1, 0),
        ("IOB1", "I-PER I-LOC I-LOC", "B-PER B-LOC I-LOC", 2, 0),
        ("IO", "I-PER I-PER O I-PER", "B-PER I-PER O B-PER", 2, 0),
        ("BIOES", "B-PER I-PER E-PER S-PER O", "B-PER I-PER I-PER B-PER O", 2, 0),
        ("BIOES", "O E-PER I-PER", "O B-PER B-PER", 0, 2),
        ("BILOU", "B-LOC L-LOC U-LOC", "B-LOC I-LOC B-LOC", 2, 0),
        ("bare-runs", "EVENT EVENT O EVENT", "B-EVENT I-EVENT O B-EVENT", 3, 0),
        ("bare-words", "EVENT EVENT O EVENT", "B-EVENT B-EVENT O B-EVENT", 3, 0),
    ],
)
def test_tags_become_iob2_and_each_change_is_counted_once(scheme, tags, expected, num_converted, num_repaired):
    converted = to_iob2(tags.split(), TagScheme(scheme))

    assert converted.tags == expected.split()
    assert (converted.num_converted, converted.num_repaired) == (num_converted, num_repaired)


def test_a_type_may_hold_a_hyphen():
    assert to_iob2(["S-work-of-art"], TagScheme.BIOES).tags == ["B-work-of-art"]


@pytest.mark.parametrize(
    ("scheme", "sentences"),
    [
        ("IOB2", ["O B-PER I-PER O", "B-LOC O O I-LOC"]),
        ("IOB2", ["B-PER I-PER I-PER I-PER O"]),
        ("IOB2", ["O O", "O"]),
        ("IOB1", ["I-PER O I-LOC I-LOC B-LOC"]),
        ("IOB1", ["I-PER O I-PER O B-PER"]),
        ("IO", ["I-PER I-PER O", "O"]),
        ("BIOES", ["O B-PER E-PER", "S-LOC"]),
        ("BILOU", ["O B-PER L-PER"]),
        ("bare-runs", ["person person O O O", "O person O"]),
        ("bare-words", ["EVENT O EVENT O O O"]),
    ],
)
def test_the_scheme_is_found_from_all_sentences(scheme, sentences):
    assert detect_scheme(tags.split() for tags in sentences) is TagScheme(scheme)


@pytest.mark.parametrize(
    ("scheme", "tag", "message"),
    [
        ("IOB2", "B-", "tag 'B-' has no type: expected B-TYPE"),
        ("IOB1", "I", "tag 'I' has no type: expected I-TYPE"),
        ("IOB2", "E-PER", "tag 'E-PER' is not IOB2: expected O, B-TYPE, I-TYPE"),
        ("BIOES", "L-PER", "tag 'L-PER' is not BIOES"),
        ("IOB2", "PER", "tag 'PER' is not IOB2"),
        ("bare-words", "", "tag '' is not bare-words: expected O, TYPE"),
    ],
)
def test_a_tag_outside_its_scheme_is_an_error_that_names_it(scheme, tag, message):
    with pytest.raises(TagError, match=message) as raised:
        to_iob2(["O", tag], TagScheme(scheme))
    assert raised.value.tag == tag


@pytest.mark.parametrize(
    ("tags", "culprit", "message"),
    [
        ("NN VB VB", "VB", r"'VB' is the commonest tag \(2 times, O 0 times\)"),
        ("O O B_PER", "B_PER", "tag 'B_PER' has no prefix as in B-TYPE"),
        ("O O PER-B", "PER-B", "tag 'PER-B' has no prefix"),
        ("O O O PER PER B", "B", "tag 'B' has no prefix"),
    ],
)
def test_tags_without_a_prefix_are_doubted_unless_they_look_like_bare_entity_types(tags, culprit, message):
    with pytest.raises(TagError, match=message) as raised:
        detect_scheme([tags.split()])
    assert raised.value.tag == culprit


def test_schemes_are_named_in_any_case_and_an_unknown_one_lists_them():
    assert TagScheme("iob2") is TagScheme.IOB2
    with pytest.raises(ValueError, match="tag_scheme='IOBES': expected auto or one of IOB1, IOB2, BIOES, BILOU, IO"):
        TagScheme("IOBES")


def test_only_o_and_a_prefix_with_a_type_pass_for_tags():
    assert [text for text in ("O", "B-PER", "S-x", "B-", "B", "PER", "the", "e-mail") if is_tag(text)] == [
        "O",
        "B-PER",
        "S-x",
    ]
