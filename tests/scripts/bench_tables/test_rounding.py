import pytest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_rounded_lengths_have_fewer_shapes_and_emptier_slots(results_of):
    found = results_of("rounding", "--steps", "6", "--per_device_train_batch_size", "2")
    for layout in ("grouped by length", "packed"):
        rounded, ragged = f"{layout}, multiples of 8", f"{layout}, not rounded"
        assert found["shapes"][rounded] < found["shapes"][ragged]
        assert found["share of real sub-words"][rounded] < found["share of real sub-words"][ragged] <= 1
        assert found["results"][ragged]["ratio"]["all"] == [1.0, 1.0, 1.0]
        assert found["first pass"][rounded] > 0


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
