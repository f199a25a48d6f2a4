"""Every attention kernel on CUDA, forward and backward, against eager attention in float32."""

import pytest
import torch
from transformers import AutoModelForCausalLM

import decausal
from exactness import (
    BFLOAT16_BOUND,
    CASES,
    FLOAT32_BOUND,
    PATTERNS,
    batch,
    build,
    difference,
    packed_for_training,
    run,
)

pytestmark = pytest.mark.gpu
FLASH = pytest.param("flash_attention_2", marks=pytest.mark.gpu(package="flash_attn"))


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    """flex_attention is compiled for each mask, and torch gives up after eight."""
    torch.compiler.reset()


@pytest.fixture(scope="module")
def expected():
    """What eager attention gives in float32, computed once a case."""
    known = {}

    def find(model: str, rows: str, pattern: str):
        if (model, rows, pattern) not in known:
            eager = build(model, "eager", torch.float32, "cuda")
            known[model, rows, pattern] = run(eager, pattern, batch(rows, "cuda"))
        return known[model, rows, pattern]

    return find


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("model", "rows"), CASES)
@pytest.mark.parametrize("kernel", ["sdpa", "flex_attention"])
def test_kernels_agree_with_eager_attention(expected, kernel, model, rows, pattern):
    found = run(build(model, kernel, torch.float32, "cuda"), pattern, batch(rows, "cuda"))
    assert difference(found, expected(model, rows, pattern)) < FLOAT32_BOUND


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("model", "rows"), CASES)
@pytest.mark.parametrize("kernel", ["sdpa", FLASH])
def test_kernels_agree_with_eager_attention_but_for_the_rounding_of_bfloat16(expected, kernel, model, rows, pattern):
    found = run(build(model, kernel, torch.bfloat16, "cuda"), pattern, batch(rows, "cuda"))
    assert difference(found, expected(model, rows, pattern)) < BFLOAT16_BOUND


@pytest.mark.parametrize(("model", "rows"), CASES[-2:])
def test_flex_attention_agrees_but_for_the_rounding_of_bfloat16(expected, model, rows):
    found = run(build(model, "flex_attention", torch.bfloat16, "cuda"), "0011", batch(rows, "cuda"))
    assert difference(found, expected(model, rows, "0011")) < BFLOAT16_BOUND


@pytest.mark.gpu(package="flash_attn")
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("model", ["llama", "window"])
def test_flash_kernels_keep_documents_apart_by_the_borders_that_training_passes(model, pattern):
    found = run(build(model, "flash_attention_2", torch.bfloat16, "cuda"), pattern, packed_for_training("cuda"))
    eager = run(build(model, "eager", torch.float32, "cuda"), pattern, packed_for_training("cuda"))
    assert difference(found, eager) < BFLOAT16_BOUND


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("model", ["llama", "window"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex_attention", FLASH])
def test_the_audit_passes_on_every_kernel(kernel, model, pattern):
    audited = build(model, kernel, torch.bfloat16, "cuda")
    with decausal.unmask(audited, pattern):
        report = decausal.audit(audited, pattern)
    assert report.ok, str(report)


# Its heads of 8 are too small for flex_attention on CUDA.
@pytest.mark.parametrize("rows", ["whole", "left padding", "packed"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("kernel", "dtype", "bound"),
    [
        ("sdpa", torch.float32, FLOAT32_BOUND),
        pytest.param(*FLASH.values, torch.bfloat16, BFLOAT16_BOUND, marks=FLASH.marks),
    ],
)
def test_a_really_pretrained_model_agrees_too(stories, kernel, dtype, bound, pattern, rows):
    inputs = batch(rows, "cuda")
    eager, other = (
        AutoModelForCausalLM.from_pretrained(stories, attn_implementation=name, dtype=kind).to("cuda")
        for name, kind in (("eager", torch.float32), (kernel, dtype))
    )
    assert difference(run(other, pattern, inputs), run(eager, pattern, inputs)) < bound


@pytest.mark.parametrize("rows", ["whole", "left padding", "packed"])
def test_an_unmasked_model_compiles_without_a_graph_break(rows):
    model = build("llama", "sdpa", torch.float32, "cuda")
    inputs = batch(rows, "cuda")
    with decausal.unmask(model, "0011"), torch.no_grad():
        plain = model(**inputs, use_cache=False).logits
        compiled = torch.compile(model, fullgraph=True)(**inputs, use_cache=False).logits
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    torch.testing.assert_close(compiled[real], plain[real], atol=1e-4, rtol=1e-4)
