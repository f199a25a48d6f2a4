"""The bounds to which kernels are held on a GPU, on kernels that a CPU has."""

import pytest
import torch

from exactness import BFLOAT16_BOUND, FLOAT32_BOUND, batch, build, difference, packed_for_training, run

CASES = pytest.mark.parametrize(("model", "rows"), [("llama", "left padding"), ("window", "packed")])


@CASES
def test_in_float32_the_bound_is_wide_enough_for_another_kernel(model, rows):
    eager, sdpa = (run(build(model, k, torch.float32, "cpu"), "0011", batch(rows, "cpu")) for k in ("eager", "sdpa"))
    assert difference(sdpa, eager) < FLOAT32_BOUND / 10


@CASES
def test_in_bfloat16_the_bound_is_wide_enough_for_rounding(model, rows):
    exact, rounded = (
        run(build(model, "eager", dtype, "cpu"), "1111", batch(rows, "cpu"))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert difference(rounded, exact) < BFLOAT16_BOUND / 2


@CASES
@pytest.mark.parametrize(("pattern", "other"), [("0011", "0001"), ("1111", "1110"), ("0000", "0001")])
def test_one_layer_with_the_wrong_mask_is_far_beyond_the_bounds(model, rows, pattern, other):
    eager = build(model, "eager", torch.float32, "cpu")
    right, wrong = (run(eager, each, batch(rows, "cpu")) for each in (pattern, other))
    assert difference(wrong, right) > 4 * BFLOAT16_BOUND


def test_rows_packed_for_flash_kernels_hold_the_documents_of_the_packed_batch():
    inputs = packed_for_training("cpu")
    assert inputs["cu_seq_lens_k"].tolist()[:4] == [0, 61, 110, 150]
    eager = build("llama", "eager", torch.float32, "cpu")
    found, expected = run(eager, "1111", inputs).logits, run(eager, "1111", batch("packed", "cpu")).logits
    torch.testing.assert_close(found[:61], expected[40:101], atol=1e-4, rtol=1e-4)
