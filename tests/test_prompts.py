"""Literal matrices of prefix-LM masks: rows are queries, columns are keys, 1 = may attend."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from decausal._prompts import open_prompts, open_prompts_of_block_mask, prompt_spans

HIDDEN = torch.finfo(torch.float32).min


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[int(cell) for cell in row.split()] for row in rows], dtype=torch.bool)[None, None]


def spans_of(text: str) -> torch.Tensor:
    return torch.tensor([[int(cell) for cell in text.split()]])


def additive(mask: torch.Tensor) -> torch.Tensor:
    return torch.zeros(mask.shape).masked_fill(~mask, HIDDEN)


CAUSAL = mask_of("1 0 0 0", "1 1 0 0", "1 1 1 0", "1 1 1 1")
CASES = pytest.mark.parametrize(
    ("host", "spans", "opened"),
    [
        pytest.param(CAUSAL, "1 1 0 0", mask_of("1 1 0 0", "1 1 0 0", "1 1 1 0", "1 1 1 1"), id="one turn"),
        pytest.param(CAUSAL, "1 1 1 1", mask_of(*["1 1 1 1"] * 4), id="prompt alone"),
        pytest.param(CAUSAL, "0 0 0 0", CAUSAL, id="answer alone"),
        pytest.param(CAUSAL, "1 0 2 2", mask_of("1 0 0 0", "1 1 0 0", "1 1 1 1", "1 1 1 1"), id="two turns"),
        pytest.param(
            mask_of("0 0 0 0", "0 1 0 0", "0 1 1 0", "0 1 1 1"),
            "1 1 1 0",
            mask_of("0 0 0 0", "0 1 1 0", "0 1 1 0", "0 1 1 1"),
            id="left padding",
        ),
        pytest.param(
            mask_of("1 0 0 0", "1 1 0 0", "1 1 1 0", "1 1 1 0"),
            "1 1 0 2",
            mask_of("1 1 0 0", "1 1 0 0", "1 1 1 0", "1 1 1 0"),
            id="right padding",
        ),
        pytest.param(
            mask_of("1 0 0 0", "1 1 0 0", "0 1 1 0", "0 0 1 1"),
            "1 1 1 0",
            mask_of("1 1 0 0", "1 1 1 0", "0 1 1 0", "0 0 1 1"),
            id="sliding window",
        ),
        pytest.param(
            mask_of("1 0 0 0", "1 1 0 0", "0 0 1 0", "0 0 1 1"),
            "1 1 1 1",
            mask_of("1 1 0 0", "1 1 0 0", "0 0 1 1", "0 0 1 1"),
            id="packed prompts that touch",
        ),
    ],
)


def test_every_run_of_prompt_tokens_is_a_prompt_of_its_own():
    assert torch.equal(prompt_spans(spans_of("1 1 0 0 1 1 0").bool()), spans_of("1 1 0 0 2 2 0"))


@CASES
def test_a_boolean_mask_is_opened_within_prompts(host, spans, opened):
    assert torch.equal(open_prompts(host, spans_of(spans)), opened)


@CASES
def test_an_additive_mask_is_opened_to_the_same(host, spans, opened):
    assert torch.equal(open_prompts(additive(host), spans_of(spans)), additive(opened))


@CASES
def test_a_block_mask_is_opened_to_the_same(host, spans, opened):
    block = create_block_mask(lambda b, h, q, k: host[0, 0, q, k], 1, None, 4, 4, "cpu", BLOCK_SIZE=4)
    found = open_prompts_of_block_mask(block, spans_of(spans))
    assert torch.equal(create_mask(found.mask_mod, 1, 1, 4, 4, "cpu"), opened)


def test_a_mask_that_has_lost_its_documents_gets_them_back_from_positions():
    opened = open_prompts(CAUSAL, spans_of("1 1 1 1"), torch.tensor([[0, 1, 0, 1]]))
    assert torch.equal(opened, mask_of("1 1 0 0", "1 1 0 0", "0 0 1 1", "0 0 1 1"))


def test_a_prompt_that_continues_a_cache_sees_all_of_it_and_itself():
    host = mask_of("0 1 1 0 0", "0 1 1 1 0", "0 1 1 1 1")
    assert torch.equal(open_prompts(host, spans_of("0 1 1")), mask_of("0 1 1 0 0", "0 1 1 1 1", "0 1 1 1 1"))
