from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, disable_progress_bars

from decausal import DataError
from decausal.tagging.data import describe_unknown_tags, read_dataset, read_sentences, read_words

disable_progress_bars()
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the annotated corpora in ../shared/data")


@needs_shared
@pytest.mark.parametrize(
    ("files", "scheme", "sentences", "entities"),
    [
        ("conll2003/eng.train", "IOB1", 14041, 23499),
        ("conll2003/eng.testa", "IOB1", 3250, 5942),
        ("conll2003/eng.testb", "IOB1", 3453, 5648),
        ("conll2000/train.txt", "IOB2", 8936, 106978),
        ("conll2000/test.txt", "IOB2", 2012, 23852),
        ("semeval14_restaurants/Restaurants_Train_v2.xml", "spans", 3041, 3690),
        ("semeval14_restaurants/Restaurants_Test_Gold.xml", "spans", 800, 1134),
        ("rest14_iob2/train.txt", "IOB2", 2737, 3319),
        ("rest14_iob2/valid.txt", "IOB2", 304, 365),
        ("rest14_iob2/test.txt", "IOB2", 800, 1132),
        ("wnut17/wnut17train.conll", "IOB2", 3394, 1975),
        ("wnut17/emerging.dev.conll", "IOB2", 1009, 836),
        ("wnut17/emerging.test.annotated", "IOB2", 1287, 1079),
        ("wikigold", "IO", 1696, 3558),
        ("litbank_events", "bare-words", 8562, 7849),
        ("uner_da_ddt/*-train.iob2", "IOB2", 4383, 3028),
        ("uner_da_ddt/*-dev.iob2", "IOB2", 564, 379),
        ("uner_da_ddt/*-test.iob2", "IOB2", 565, 447),
        ("uner_zh_gsd/*-train.iob2", "IOB2", 3997, 6136),
        ("uner_zh_gsd/*-dev.iob2", "IOB2", 500, 810),
        ("uner_zh_gsd/*-test.iob2", "IOB2", 500, 767),
    ],
)
def test_known_corpora_load_with_their_published_counts(files, scheme, sentences, entities):
    dataset, report = read_sentences(SHARED / files)

    assert (report.scheme, report.sentences, report.entities) == (scheme, sentences, entities)
    assert (len(dataset), dataset.column_names) == (sentences, ["tokens", "tags"])


@needs_shared
def test_nothing_done_to_known_corpora_goes_uncounted():
    conll = read_sentences(SHARED / "conll2003/eng.train")[1]
    semeval = read_sentences(SHARED / "semeval14_restaurants/Restaurants_Train_v2.xml")[1]
    danish = read_sentences(SHARED / "uner_da_ddt/da_ddt-ud-train.iob2")[1]

    assert (conll.converted_tags, conll.skipped) == (23427, {"-DOCSTART- lines": 946})
    assert semeval.entities + semeval.dropped_spans == 3693
    assert (danish.repaired_tags, danish.skipped) == (6, {"comment lines": 8766})


@needs_shared
def test_the_first_sentence_of_conll2003_is_known():
    assert read_sentences(SHARED / "conll2003/eng.train", columns="0,2")[0][0] == {
        "tokens": ["EU", "rejects", "German", "call", "to", "boycott", "British", "lamb", "."],
        "tags": ["B-NP", "B-VP", "B-NP", "I-NP", "B-VP", "I-VP", "B-NP", "I-NP", "O"],
    }


def test_files_of_several_formats_are_one_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("EU I-ORG\nsaid O\n")
    (tmp_path / "b.jsonl").write_text('{"tokens": ["Rome"], "tags": ["I-LOC"]}\n')

    dataset, report = read_sentences([tmp_path / "a.txt", tmp_path / "b.jsonl"])

    assert dataset["tags"][:] == [["B-ORG", "O"], ["B-LOC"]]
    assert (report.source, report.format) == (f"{tmp_path}/a.txt, {tmp_path}/b.jsonl", "conll+jsonl")


def test_a_changed_file_is_read_afresh(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("EU B-ORG\n")
    read_sentences(path)
    path.write_text("UN B-ORG\n")

    assert read_sentences(path)[0]["tokens"][:] == [["UN"]]


def test_the_choices_of_the_user_reach_the_reader(tmp_path):
    (tmp_path / "a.csv").write_text("B-ORG;x;EU\n")

    dataset, report = read_sentences(
        tmp_path / "a.csv", columns="2,0", tag_scheme="IOB2", file_format="conll", separator=";"
    )

    assert dataset[0] == {"tokens": ["EU"], "tags": ["B-ORG"]}
    assert report.scheme == "IOB2"


def test_a_saved_data_set_is_read_by_either_name(tmp_path):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "S-ORG"]))})
    Dataset.from_dict({"tokens": [["EU", "said"]], "ner_tags": [[1, 0]]}, features=features).save_to_disk(tmp_path)

    dataset, report = read_sentences(tmp_path)

    assert dataset[0] == {"tokens": ["EU", "said"], "tags": ["B-ORG", "O"]}
    assert (report.format, report.scheme, report.converted_tags) == ("dataset", "BIOES", 1)
    assert read_dataset(str(tmp_path), columns="tokens,ner_tags", tag_scheme="BIOES")[1] == report


def test_split_and_scheme_hold_for_a_saved_data_set_too(tmp_path):
    dataset = Dataset.from_dict({"tokens": [["EU"]], "tags": [["I-ORG"]]})
    DatasetDict({"train": dataset, "test": dataset}).save_to_disk(tmp_path)

    report = read_sentences(tmp_path, split="test", tag_scheme="IOB2")[1]

    assert (report.source, report.scheme, report.repaired_tags) == (f"{tmp_path} (test)", "IOB2", 1)


def test_a_bad_tag_in_a_data_set_is_an_error_at_its_row(tmp_path):
    Dataset.from_dict({"tokens": [["EU"], ["UN"]], "tags": [["B-ORG"], ["B-"]]}).save_to_disk(tmp_path)
    with pytest.raises(DataError, match="row 2: tag 'B-' has no type"):
        read_dataset(str(tmp_path))


@needs_shared
def test_words_are_read_without_regard_to_tags():
    words, file_format = read_words(SHARED / "uner_zh_gsd/zh_gsd-ud-test.iob2")

    assert (len(list(words)), file_format) == (500, "conllu")
    assert next(iter(words))[:4] == ["然而", "，", "這樣", "的"]


@needs_shared
@pytest.mark.parametrize(
    ("files", "sentences", "first"),
    [
        ("conll2003/eng.testb", 3453, "SOCCER"),
        ("wikigold/wikigold.conll.txt", 1696, "010"),
        ("rest14_iob2/test.txt", 800, "The"),
    ],
)
def test_columns_without_a_telling_suffix_are_known_by_their_tags(files, sentences, first):
    words, _ = read_words(SHARED / files)

    assert (len(list(words)), next(iter(words))[0]) == (sentences, first)


def test_a_blank_line_of_words_and_an_empty_record_are_sentences_without_words(tmp_path):
    (tmp_path / "a.txt").write_text("Jordan said .\n\nRome\n")
    (tmp_path / "b.jsonl").write_text('{"tokens": []}\n')

    words, file_format = read_words([tmp_path / "a.txt", tmp_path / "b.jsonl"])

    assert list(words) == [["Jordan", "said", "."], [], ["Rome"], []]
    assert file_format == "words+jsonl"


def test_the_choices_of_the_user_reach_the_reader_of_words(tmp_path):
    (tmp_path / "a.csv").write_text("B-ORG;x;EU\n")

    words, _ = read_words(tmp_path / "a.csv", columns="2,0", file_format="conll", separator=";")

    assert list(words) == [["EU"]]


def test_a_file_without_words_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": []}\n')
    with pytest.raises(DataError, match=r"a\.jsonl: holds no words"):
        read_words(tmp_path / "a.jsonl")


def test_tags_that_cannot_be_predicted_are_counted():
    sentences = Dataset.from_dict({"tags": [["B-LOC", "O"], ["B-ORG", "B-PER", "B-ORG"]]})

    assert describe_unknown_tags("test", sentences, {"O", "B-PER", "B-ORG", "B-LOC"}, "the model") is None
    assert describe_unknown_tags("test", sentences, ["O", "B-PER"], "the model") == (
        "test has 3 tags of B-LOC, B-ORG, which the model lacks: they cannot be predicted, and count as missed."
    )
