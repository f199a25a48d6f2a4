import pytest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_precisions_are_compared_on_the_same_rows(results_of):
    found = results_of("train")
    names = ["float32", "bfloat16", "4 bits, computed in float32", "4 bits, computed in bfloat16"]
    assert list(found["results"]) == list(found["profiles"]) == names
    assert found["results"]["bfloat16"]["ratio"]["all"] == [1.0, 1.0, 1.0]
