import pytest

from decausal.tagging.arguments import parse_recipe
from decausal.tagging.splits import Corpus


@pytest.mark.parametrize(
    ("train", "test", "scheme", "entities"),
    [("PER PER", "PER O", "bare-runs", 1), ("PER O", "PER PER", "bare-words", 2)],
)
def test_bare_tags_mean_in_every_split_what_they_mean_in_the_training_data(
    recipe, tmp_path, train, test, scheme, entities
):
    for name, tags in (("train", train), ("test", test)):
        first, second = tags.split()
        (tmp_path / f"{name}.tsv").write_text(f"a\tO\nhouse\t{first}\nnow\t{second}\n.\tO\n")
    files = {f"{name}_file": str(tmp_path / f"{name}.tsv") for name in ("train", "test")}
    reports = Corpus.read(parse_recipe([recipe(validation_file=None, **files)])[0]).reports
    assert [report.scheme for report in reports.values()] == [scheme, scheme]
    assert max(report.entities for report in reports.values()) == entities
