import pytest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_rounded_lengths_have_fewer_shapes_and_emptier_slots(results_of):
    found = results_of("rounding", "--steps", "6", "--per_device_train_batch_size", "2")
    shapes, shares = found["shapes"], found["share of real sub-words"]
    assert shapes["grouped by length, multiples of 8"] < shapes["grouped by length, not rounded"]
    assert shapes["packed, multiples of 8"] < shapes["packed, not rounded"]
    assert shares["grouped by length, multiples of 8"] < shares["grouped by length, not rounded"]
    assert shares["packed, multiples of 8"] < shares["packed, not rounded"]
    assert found["first pass"].keys() == found["results"].keys() == shapes.keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--pad_to_multiple_of", "1"], "pad_to_multiple_of=1 rounds nothing"),
        (["--use_cache", "true"], "use_cache=true"),
    ],
)
def test_what_has_nothing_to_compare_is_refused(results_of, fields, message):
    with pytest.raises(ValueError, match=message):
        results_of("rounding", *fields)
