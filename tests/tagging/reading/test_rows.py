import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, disable_progress_bars

from decausal import DataError
from decausal.tagging.reading.rows import is_saved_dataset, load_split, read_parquet, read_rows
from decausal.tagging.reading.source import Lines, Source

disable_progress_bars()
LABELS = ClassLabel(names=["O", "B-ORG"])
FEATURES = Features({"id": Value("int64"), "tokens": List(Value("string")), "ner_tags": List(LABELS)})
SOURCE = Source("demo", unit=", row ")


def demo(tag: int = 1) -> Dataset:
    return Dataset.from_dict({"id": [7], "tokens": [["EU", "said"]], "ner_tags": [[tag, 0]]}, features=FEATURES)


def test_class_labels_become_their_names_and_other_columns_are_left_behind():
    assert list(read_rows(demo(), None, SOURCE)) == [(1, {"tokens": ["EU", "said"], "ner_tags": ["B-ORG", "O"]})]


def test_the_format_of_a_data_set_makes_no_difference():
    assert list(read_rows(demo().with_format("numpy"), "tokens,ner_tags", SOURCE)) == list(
        read_rows(demo(), None, SOURCE)
    )


def test_a_label_number_without_a_name_is_an_error_at_its_row():
    with pytest.raises(DataError, match=r"demo, row 1: ner_tags: .* -1; its labels are \['O', 'B-ORG'\]"):
        list(read_rows(demo(tag=-1), None, SOURCE))


def test_absent_columns_are_an_error_with_those_that_are_there():
    with pytest.raises(DataError, match="expected the keys tokens,pos, found id, tokens, ner_tags"):
        list(read_rows(demo(), "tokens,pos", SOURCE))


def test_parquet_keeps_its_class_labels_and_is_read_afresh(tmp_path):
    path = tmp_path / "train.parquet"
    demo().to_parquet(path)
    assert read_parquet(Lines(path)).features == FEATURES
    demo(tag=0).to_parquet(path)
    assert read_parquet(Lines(path))["ner_tags"][0] == [0, 0]


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_text("PAR1")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as Parquet"):
        read_parquet(Lines(tmp_path / "a.parquet"))


def test_a_saved_data_set_is_recognised_and_loaded(tmp_path):
    demo().save_to_disk(tmp_path / "one")

    assert is_saved_dataset(tmp_path / "one")
    assert not is_saved_dataset(tmp_path)
    assert load_split(str(tmp_path / "one"), None, None)["id"][0] == 7


def test_of_several_splits_one_must_be_chosen(tmp_path):
    DatasetDict({"train": demo(), "test": demo(tag=0)}).save_to_disk(tmp_path)

    assert is_saved_dataset(tmp_path)
    assert load_split(str(tmp_path), None, "test")["ner_tags"][0] == [0, 0]
    with pytest.raises(DataError, match=r"no split is chosen .*: expected one of train, test"):
        load_split(str(tmp_path), None, None)
    with pytest.raises(DataError, match="split='dev': expected one of train, test"):
        load_split(str(tmp_path), None, "dev")


def test_the_only_split_need_not_be_chosen(tmp_path):
    DatasetDict({"train": demo()}).save_to_disk(tmp_path)

    assert load_split(str(tmp_path), None, None)["id"][0] == 7


def test_a_data_set_that_cannot_be_loaded_is_an_error_with_its_name(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="nothing: cannot be loaded as a data set"):
        load_split(str(tmp_path / "nothing"), None, "train")
