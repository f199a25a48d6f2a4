import json
import os
import subprocess
import sys

import pytest

import bench
import decausal
from decausal.tagging.bench import Bench

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_unmasked_layers_are_held_against_the_untouched_model(results_of, monkeypatch):
    measured = []
    seconds = Bench.time_steps

    def watched(self, batches):
        kernel = self.model.config._attn_implementation
        measured.append((kernel, "attention_mask" in batches[0], decausal.unmasked_layers(self.model)))
        return seconds(self, batches)

    monkeypatch.setattr(Bench, "time_steps", watched)
    fields = ["--unmask", "1111"]  # the table has its own patterns
    found = results_of("hook", *fields)
    patterns = {"untouched": (), "0011": (2, 3), "1111": (0, 1, 2, 3)}
    names = [
        f"{kernel}, {kind}, {name}"
        for kernel in ("sdpa", "eager") for kind in ("padded", "unpadded") for name in patterns
    ]  # fmt: skip
    assert list(found["results"]) == names
    expected = [
        (kernel, has_mask, layers)
        for kernel in ("sdpa", "eager") for has_mask in (True, False) for layers in patterns.values()
    ]  # fmt: skip
    assert measured == expected * 4
    assert found["results"]["eager, unpadded, untouched"]["ratio"]["all"] == [1.0, 1.0, 1.0]


@pytest.mark.long  # most of a minute
def test_memory_is_measured_with_a_malloc_that_gives_back(recipe, tmp_path):
    path = tmp_path / "memory.json"
    fields = ["--steps", "1", "--repetitions", "1", "--per_device_train_batch_size", "64"]
    command = [sys.executable, "-W", "ignore", bench.__file__, "memory", recipe, str(path), *fields]
    environment = {name: value for name, value in os.environ.items() if name not in bench.MALLOC}
    subprocess.run(command, check=True, env=environment)
    assert all(row["figure"]["median"] > 0 for row in json.loads(path.read_text())["results"].values())
    assert path.with_suffix(".svg").is_file()
