"""What the table of a GPU holds, on a CPU and tiny."""

import pytest

import decausal
from bench_tables import gpu
from decausal.tagging.bench import Bench

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

NAMES = ["padded, causal, sdpa", "padded, grouped by length, unmasked, sdpa", "packed, unmasked, sdpa"]


def test_packed_rows_on_every_kernel_are_held_against_padded_causal_batches(results_of, monkeypatch):
    monkeypatch.setattr(gpu, "kernels_at_hand", lambda device: ["sdpa", "eager"])  # what any CPU can train on
    measured = []
    seconds = Bench.time_steps

    def watched(self, batches):
        kernel = self.base.config._attn_implementation
        measured.append(("attention_mask" in batches[0], decausal.unmasked_layers(self.model), kernel))
        return seconds(self, batches)

    monkeypatch.setattr(Bench, "time_steps", watched)
    found = results_of("gpu", "--unmask", "0011")
    assert list(found["results"]) == [*NAMES, "packed, unmasked, eager"]
    stock, grouped = (True, (), "sdpa"), (True, (2, 3), "sdpa")
    assert measured[-4:] == [stock, grouped, (False, (2, 3), "sdpa"), (False, (2, 3), "eager")]
    assert found["results"][NAMES[0]]["ratio"]["all"] == [1.0, 1.0, 1.0]
    assert (found["left out"], found["attention"]) == ({}, "sdpa")


def test_a_share_of_the_peak_is_told_where_the_peak_is_known(results_of):
    unknown = results_of("gpu", "--repetitions", "1")
    assert unknown["peak FLOP/s"] == "unknown"
    assert set(unknown["results"][NAMES[2]]) == {"figure", "ratio", "model FLOP/s"}
    found = results_of("gpu", "--repetitions", "1", "--peak_tflops", "0.5")
    row = found["results"][NAMES[2]]
    flops = row["figure"]["median"] * sum(found["model FLOP of a sub-word"][NAMES[2]].values())
    assert found["peak FLOP/s"] == 0.5e12
    assert row["model FLOP/s"]["median"] == pytest.approx(flops)
    assert row["share of peak FLOP/s"]["median"] == pytest.approx(flops / 0.5e12)


def test_causal_layers_need_less_arithmetic_of_attention_alone(results_of):
    flops = results_of("gpu", "--repetitions", "1")["model FLOP of a sub-word"]
    stock, packed = flops[NAMES[0]], flops[NAMES[2]]
    assert stock["attention"] < packed["attention"]
    assert {**stock, "attention": 0} == {**packed, "attention": 0}


def test_a_kernel_that_fails_is_left_out_and_said_to_be(results_of, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "kernels_at_hand", lambda device: ["no_such_kernel", "sdpa"])
    found = results_of("gpu", "--repetitions", "1")
    assert list(found["results"]) == NAMES
    assert list(found["left out"]) == ["no_such_kernel"]
    assert "no_such_kernel is left out: " in capsys.readouterr().err


def test_rows_that_would_be_refused_in_training_are_left_out(results_of):
    found = results_of("gpu", "--repetitions", "1", "--use_cache", "true")
    assert list(found["results"]) == NAMES[:2]
    assert "use_cache=true" in found["left out"]["sdpa"]


def test_a_kernel_under_which_the_audit_fails_is_left_out(recipe, monkeypatch):
    bench = Bench([recipe])
    audit = decausal.audit
    monkeypatch.setattr(decausal, "audit", lambda model, _: audit(model, "none"))
    left_out = gpu.find_unpackable(bench, ["sdpa"], bench.draw_batches("random", 1)[0])
    assert "sees the future, the pattern says causal" in left_out["sdpa"]


def test_a_recipe_that_unmasks_nothing_is_refused(results_of):
    with pytest.raises(ValueError, match='unmask="none" opens no layer'):
        results_of("gpu", "--unmask", "none")


def test_a_model_in_four_bits_is_measured_too(results_of):
    fields = ["--load_in_4bit", "true", "--dtype", "bfloat16", "--bf16", "true", "--gradient_checkpointing", "true"]
    whole, packed = (results_of("gpu", "--repetitions", "1", *more) for more in ([], fields))
    assert list(packed["results"]) == NAMES
    assert "the base model in 4 bits" in packed["parameters"]
    assert packed["model FLOP of a sub-word"] == whole["model FLOP of a sub-word"]
