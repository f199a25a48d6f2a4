from functools import wraps

import pytest
from transformers import LlamaModel

from bench_tables import scale
from decausal.tagging.bench import Bench

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_scale_changes_one_thing_at_a_time_and_leaves_the_depth_as_it_was(results_of, monkeypatch):
    monkeypatch.setattr(scale, "LENGTHS", (64, 128))
    depths = []
    seconds = Bench.time_steps

    def watched(self, batches):
        depths.append((self.model.config.num_hidden_layers, tuple(batches[0]["input_ids"].shape)))
        return seconds(self, batches)

    monkeypatch.setattr(Bench, "time_steps", watched)
    results_of("scale", "--repetitions", "1")
    longest = [(1, (1, 128))] * 8  # for profiles: warm and profiled, documents or not, untouched or not
    shapes = [(1, (2, 64)), (1, (1, 128))] * 2 + [(1, (1, 64)), (1, (4, 64)), (1, (16, 64))]
    shapes += [(layers, (16, 64)) for layers in (2, 3, 4)]
    assert depths == longest + [shape for shape in shapes for _ in ("untouched", "1111")] * 2


def test_what_grows_is_drawn_in_a_line_for_each_pattern(results_of, monkeypatch):
    monkeypatch.setattr(scale, "LENGTHS", (64, 128))
    found = results_of("scale", "--repetitions", "1")
    along = {
        panel: {tuple(x for x, _ in points) for points in lines.values()} for panel, lines in found["curves"].items()
    }
    assert along == {
        "sub-words of a row, one document": {(64, 128)},
        "sub-words of a row, documents of 64": {(64, 128)},
        "rows of 64 in a batch": {(1, 4, 16, 2)},
        "layers": {(1, 2, 3, 4)},
    }
    assert found["curves"]["layers"]["untouched"][0] == [1, "16 rows of 64, untouched"]
    assert list(found["profiles"]) == [
        f"rows of 128{documents}, {pattern}"
        for documents in ("", ", documents of 64")
        for pattern in ("untouched", "1111")
    ]
    drawn = {name for lines in found["curves"].values() for points in lines.values() for _, name in points}
    assert drawn == set(found["results"])


def test_a_model_that_runs_all_its_layers_anyway_is_refused(results_of, monkeypatch):
    forward = LlamaModel.forward

    @wraps(forward)
    def whole(self, *args, **given):
        self.config.num_hidden_layers = len(self.layers)
        return forward(self, *args, **given)

    monkeypatch.setattr(LlamaModel, "forward", whole)
    with pytest.raises(ValueError, match="does not leave layers out where its configuration has fewer"):
        results_of("scale")


def test_a_model_without_a_quarter_is_refused(results_of):
    with pytest.raises(ValueError, match="3 layers: the table scale measures a quarter of them"):
        results_of("scale", "--num_hidden_layers", "3")
