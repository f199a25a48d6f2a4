"""The corpus of `examples/right_context`: what is committed is what the script writes, and nothing leaks."""

from collections import Counter

import pytest
import yaml

import make_right_context
from left_only_ceiling import left_only_ceiling, read_sentences, unbalanced_contexts
from make_right_context import CORPUS, compose, make_corpus, words_in_two_splits

SPLITS = ("train", "validation", "test")
PHRASES = yaml.safe_load((CORPUS / "phrases.yaml").read_text(encoding="utf-8"))
SENTENCES = {split: read_sentences(CORPUS / f"{split}.tsv") for split in SPLITS}


def names_with_types(split):
    return [
        (" ".join(word for word, tag in zip(words, tags, strict=True) if tag.endswith(type_)), type_)
        for words, tags in SENTENCES[split]
        for type_ in ("PER", "LOC", "ORG")
        if tags.count(f"B-{type_}") == 1
    ]


def test_the_committed_files_are_what_the_script_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_right_context.py", "--seed", "7", "--output_dir", str(tmp_path)])
    make_right_context.main()
    for split in SPLITS:
        assert (tmp_path / f"{split}.tsv").read_bytes() == (CORPUS / f"{split}.tsv").read_bytes()


def test_another_seed_writes_other_sentences():
    assert make_corpus(PHRASES, seed=7) == make_corpus(PHRASES, seed=7)
    assert make_corpus(PHRASES, seed=7) != make_corpus(PHRASES, seed=8)


@pytest.mark.parametrize(("split", "num_sentences"), [("train", 400), ("validation", 120), ("test", 200)])
def test_a_split_is_small_and_repeats_no_sentence(split, num_sentences):
    assert len(SENTENCES[split]) == num_sentences
    assert (CORPUS / f"{split}.tsv").stat().st_size < 100_000
    named = [" ".join(words) for words, tags in SENTENCES[split] if set(tags) != {"O"}]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("split", SPLITS)
def test_no_left_context_tells_the_type(split):
    assert unbalanced_contexts(SENTENCES[split]) == []
    assert left_only_ceiling(SENTENCES[split]) == pytest.approx(100 / 3)


@pytest.mark.parametrize("seed", [8, 9])
def test_no_left_context_tells_the_type_whatever_the_seed(seed):
    sentences = [tuple(zip(*sentence, strict=True)) for sentence in make_corpus(PHRASES, seed)["test"]]
    assert unbalanced_contexts([(words, list(tags)) for words, tags in sentences]) == []


@pytest.mark.parametrize("split", SPLITS)
def test_no_name_and_no_opener_tells_the_type(split):
    names = Counter(names_with_types(split))
    assert {name for name, _ in names} == set(PHRASES[split]["names"])
    assert all(names[name, "PER"] == names[name, "LOC"] == names[name, "ORG"] for name, _ in names)
    openers = Counter((words[0], tags[1]) for words, tags in SENTENCES[split] if tags[1][:2] == "B-")
    assert all(openers[word, "B-PER"] == openers[word, "B-LOC"] == openers[word, "B-ORG"] for word, _ in openers)


def test_splits_share_function_words_only():
    corpus = {split: [list(zip(*pair, strict=True)) for pair in pairs] for split, pairs in SENTENCES.items()}
    assert words_in_two_splits(corpus) <= set(PHRASES["shared_words"].split())
    assert words_in_two_splits(corpus) >= {"the", "its", "was"}


def test_a_content_word_in_two_splits_is_refused_and_named(capsys, tmp_path, monkeypatch):
    planted = PHRASES | {"validation": PHRASES["validation"] | {"no_name": ["the kitchen was empty"]}}
    (tmp_path / "phrases.yaml").write_text(yaml.safe_dump(planted), encoding="utf-8")
    monkeypatch.setattr(make_right_context, "CORPUS", tmp_path)
    monkeypatch.setattr("sys.argv", ["make_right_context.py", "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        make_right_context.main()
    assert "['kitchen'] occur in more than one split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_varied(split):
    phrases = PHRASES[split]
    assert len(phrases["openers"]["any"]) + len(phrases["openers"]["when"]) >= 10
    assert min(len(kinds["events"]) + len(kinds["facts"]) for kinds in phrases["continuations"].values()) >= 20
    num_names = [sum(tag[0] == "B" for tag in tags) for _, tags in SENTENCES[split]]
    assert {0, 1, 2} == set(num_names)
    assert any(" ".join(words).count(aside) for words, _ in SENTENCES[split] for aside in phrases["asides"])
    assert any(tag[0] == "I" for _, tags in SENTENCES[split] for tag in tags)


def test_a_sentence_is_tagged_in_iob2_and_begins_with_a_capital():
    assert compose("it is said that", ("Orson Wells", "PER"), "wept") == [
        ("It", "O"),
        ("is", "O"),
        ("said", "O"),
        ("that", "O"),
        ("Orson", "B-PER"),
        ("Wells", "I-PER"),
        ("wept", "O"),
        (".", "O"),
    ]
