"""Literal matrices: rows are queries, columns are keys, 1 = may attend."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from decausal._masks import document_mask, open_block_mask, open_mask, packed_documents

HIDDEN = torch.finfo(torch.float32).min


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[int(cell) for cell in row.split()] for row in rows], dtype=torch.bool)[None, None]


def additive(mask: torch.Tensor) -> torch.Tensor:
    return torch.zeros(mask.shape).masked_fill(~mask, HIDDEN)


CAUSAL = mask_of("1 0 0 0", "1 1 0 0", "1 1 1 0", "1 1 1 1")
OPEN = mask_of("1 1 1 1", "1 1 1 1", "1 1 1 1", "1 1 1 1")
LEFT_PADDED = mask_of("0 0 0 0", "0 1 0 0", "0 1 1 0", "0 1 1 1")
LEFT_PADDED_OPEN = mask_of("0 0 0 0", "0 1 1 1", "0 1 1 1", "0 1 1 1")
RIGHT_PADDED = mask_of("1 0 0 0", "1 1 0 0", "1 1 0 0", "1 1 0 0")
RIGHT_PADDED_OPEN = mask_of("1 1 0 0", "1 1 0 0", "1 1 0 0", "1 1 0 0")
WINDOW_2 = mask_of("1 0 0 0", "1 1 0 0", "0 1 1 0", "0 0 1 1")
WINDOW_2_OPEN = mask_of("1 1 0 0", "1 1 1 0", "0 1 1 1", "0 0 1 1")
PACKED = mask_of("1 0 0 0", "0 1 0 0", "0 1 1 0", "0 1 1 1")
PACKED_OPEN = mask_of("1 0 0 0", "0 1 1 1", "0 1 1 1", "0 1 1 1")
CHUNKS_OF_2 = mask_of("1 0 0 0", "1 1 0 0", "0 0 1 0", "0 0 1 1")
CHUNKS_OF_2_OPEN = mask_of("1 1 0 0", "1 1 0 0", "0 0 1 1", "0 0 1 1")

CASES = pytest.mark.parametrize(
    ("host", "opened"),
    [
        pytest.param(CAUSAL, OPEN, id="causal"),
        pytest.param(LEFT_PADDED, LEFT_PADDED_OPEN, id="left padding"),
        pytest.param(RIGHT_PADDED, RIGHT_PADDED_OPEN, id="right padding"),
        pytest.param(WINDOW_2, WINDOW_2_OPEN, id="sliding window"),
        pytest.param(PACKED, PACKED_OPEN, id="packed"),
        pytest.param(CHUNKS_OF_2, CHUNKS_OF_2_OPEN, id="chunks"),
        pytest.param(OPEN, OPEN, id="already open"),
    ],
)


@CASES
def test_a_boolean_mask_is_opened(host, opened):
    assert torch.equal(open_mask(host), opened)


@CASES
def test_an_additive_mask_is_opened_to_the_same(host, opened):
    assert torch.equal(open_mask(additive(host)), additive(opened))


@CASES
def test_an_open_mask_stays_as_it_is(host, opened):
    assert torch.equal(open_mask(open_mask(host)), opened)


@CASES
def test_a_block_mask_is_opened_to_the_same(host, opened):
    cells = host[0, 0]
    block_mask = create_block_mask(lambda b, h, q, k: cells[q, k], 1, None, 4, 4, device="cpu")
    result = create_mask(open_block_mask(block_mask).mask_mod, 1, 1, 4, 4, device="cpu")
    assert torch.equal(result, opened)


def test_the_host_mask_itself_is_left_alone():
    host = CAUSAL.clone()
    open_mask(host)
    assert torch.equal(host, CAUSAL)


def test_a_bias_between_visible_tokens_is_kept():
    host = additive(CAUSAL)
    host[..., 3, 0] = -2.5
    opened = open_mask(host)
    assert opened[0, 0, 3, 0] == -2.5
    assert opened[0, 0, 0, 3] == -2.5


def test_documents_are_kept_apart_where_the_mask_has_lost_their_borders():
    positions = torch.tensor([[0, 0, 1, 2]])
    assert torch.equal(open_mask(CAUSAL, positions), PACKED_OPEN)
    assert torch.equal(open_mask(additive(CAUSAL), positions), additive(PACKED_OPEN))


def test_a_mask_shared_by_all_rows_is_opened_for_each_row_by_its_own_positions():
    positions = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 2]])
    expected = torch.cat([OPEN, PACKED_OPEN])
    assert torch.equal(open_mask(CAUSAL, positions), expected)
    assert torch.equal(open_mask(additive(CAUSAL), positions), additive(expected))


@pytest.mark.parametrize("positions", [[1, 0, 1, 2], [0, 0, 1, 2]])
def test_positions_of_padding_are_no_documents(positions):
    assert torch.equal(open_mask(LEFT_PADDED, torch.tensor([positions])), LEFT_PADDED_OPEN)


def test_padding_inside_a_row_does_not_split_it():
    host = mask_of("1 0 0 0", "1 0 0 0", "1 0 1 0", "1 0 1 1")
    opened = mask_of("1 0 1 1", "1 0 0 0", "1 0 1 1", "1 0 1 1")
    assert torch.equal(open_mask(host, torch.tensor([[0, 0, 1, 2]])), opened)


@pytest.mark.parametrize("convert", [torch.clone, additive], ids=["boolean", "additive"])
def test_a_full_window_lifts_the_window_but_neither_padding_nor_documents(convert):
    packed_window = mask_of("1 0 0 0 0", "0 1 0 0 0", "0 1 1 0 0", "0 0 1 1 0", "0 0 0 1 0")
    lifted = mask_of("1 0 0 0 0", "0 1 1 1 0", "0 1 1 1 0", "0 1 1 1 0", "0 1 1 1 0")
    assert torch.equal(open_mask(convert(WINDOW_2), window="full"), convert(OPEN))
    assert torch.equal(open_mask(convert(packed_window), window="full"), convert(lifted))


@pytest.mark.parametrize("hidden", [-1e4, -1e9, float("-inf")])
def test_what_hides_a_key_may_be_any_large_negative_number(hidden):
    host = torch.where(mask_of("1 0 0 0", "0 0 0 0", "0 0 1 0", "0 0 1 1"), 0.0, hidden)
    apart = mask_of("1 0 0 0", "1 0 0 0", "0 0 1 1", "0 0 1 1")
    opened = open_mask(host, window="full")
    assert torch.equal((opened > -1)[..., [0, 2, 3], :], apart[..., [0, 2, 3], :])
    inside = torch.where(mask_of("1 0 0 0", "1 0 0 0", "1 0 1 0", "1 0 1 1"), 0.0, hidden)
    opened = open_mask(inside, torch.tensor([[0, 0, 1, 2]]))
    assert torch.equal(opened > -1, mask_of("1 0 1 1", "1 0 0 0", "1 0 1 1", "1 0 1 1"))


def test_a_full_window_is_not_split_by_padding_inside_a_row():
    host = mask_of("1 0 0 0", "1 0 0 0", "1 0 1 0", "0 0 1 1")
    lifted = mask_of("1 0 1 1", "1 0 1 1", "1 0 1 1", "1 0 1 1")
    assert torch.equal(open_mask(host, window="full")[..., [0, 2, 3], :], lifted[..., [0, 2, 3], :])


def test_documents_are_numbered_where_positions_start_again():
    documents = packed_documents(torch.tensor([[0, 1, 0, 0, 1]]))
    assert documents.tolist() == [[0, 0, 1, 2, 2]]


@pytest.mark.parametrize(
    "positions",
    [
        None,
        torch.arange(4)[None],
        torch.zeros(3, 2, 4, dtype=torch.long),
        torch.zeros(1, 4, dtype=torch.long),
        torch.tensor([[0, 1, 2, 2]]),
    ],
    ids=["none", "ascending", "multimodal", "all equal", "clamped"],
)
def test_rows_that_are_not_packed_have_no_documents(positions):
    assert packed_documents(positions) is None


def test_the_document_mask_is_blocks():
    assert torch.equal(document_mask(torch.tensor([[0, 1, 1, 1]])), mask_of("1 0 0 0", "0 1 1 1", "0 1 1 1", "0 1 1 1"))
