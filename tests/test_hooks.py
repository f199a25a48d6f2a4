"""Kernels that cannot run here, through a stand-in that checks what it is given; and hosts that drop masks."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama import modeling_llama

import decausal
import zoo
from rows import IDS

PACKED = torch.tensor([[0, 1, 2, 0, 1, 2]])


@pytest.fixture
def kernel(monkeypatch):
    """What a stand-in for the kernel of flash_attention_2 gets from now on."""
    received = []

    def stand_in(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        received.append(
            {
                "mask": None if attention_mask is None else tuple(attention_mask.shape),
                "is_causal": module.is_causal if is_causal is None else is_causal,
                "position_ids": kwargs.get("position_ids"),
            }
        )
        return query.transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", stand_in)
    return received


@pytest.fixture
def flash(llama, kernel):
    """A Llama on that kernel, and what the kernel gets."""
    model = llama()
    model.config._attn_implementation = "flash_attention_2"
    return model, kernel


def test_flash_kernels_of_unmasked_layers_are_told_to_look_both_ways(flash):
    model, received = flash
    decausal.unmask(model, "0011")
    model(IDS)
    assert [call["is_causal"] for call in received] == [True, True, False, False]
    assert {call["mask"] for call in received} == {None}


def test_flash_kernels_keep_the_padding_of_the_host(flash):
    model, received = flash
    decausal.unmask(model, "0011")
    model(IDS, attention_mask=torch.tensor([[0, 1, 1, 1, 1, 1], [1] * 6]))
    assert {call["mask"] for call in received} == {(2, 6)}


def test_flash_kernels_keep_packed_documents_apart_by_their_positions(flash):
    model, received = flash
    decausal.unmask(model, "0011")
    model(IDS[:1], position_ids=PACKED)
    assert all(torch.equal(call["position_ids"], PACKED) for call in received)


def test_flash_kernels_refuse_several_packed_rows_which_they_would_mix(flash):
    model, _ = flash
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="one row only, and this one has 2"):
        model(IDS, position_ids=PACKED.repeat(2, 1))


def test_flash_kernels_refuse_several_rows_that_share_their_packed_positions(flash):
    model, _ = flash
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="one row only, and this one has 2"):
        model(IDS, position_ids=PACKED)


def test_flash_kernels_take_one_packed_row_of_a_model_with_several_streams_of_hidden_states(kernel):
    model = zoo.build("gemma3n_text")
    model.config._attn_implementation = "flash_attention_2"
    decausal.unmask(model, "1100")
    model(IDS[:1], position_ids=PACKED)
    assert [call["is_causal"] for call in kernel] == [False, False, True, True]
    with pytest.raises(decausal.UnsupportedModelError, match="one row only, and this one has 2"):
        model(IDS, position_ids=PACKED)


def borders(*ends):
    ends = torch.tensor(ends, dtype=torch.int32)
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": 3, "max_length_k": 3}


@pytest.mark.parametrize("ends", [(0, 3, 6, 9, 12), (0, 2, 3, 6, 9, 12)])
def test_flash_kernels_take_several_packed_rows_with_the_borders_of_their_documents(flash, ends):
    model, received = flash
    decausal.unmask(model, "0011")
    model(IDS, position_ids=PACKED, **borders(*ends))
    assert [call["is_causal"] for call in received] == [True, True, False, False]


@pytest.mark.parametrize("ends", [(0, 6, 12), (0, 3, 6, 12), (0, 3, 9, 12)])
def test_flash_kernels_refuse_borders_that_miss_a_document(flash, ends):
    model, _ = flash
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="has no border"):
        model(IDS, position_ids=PACKED, **borders(*ends))
    with pytest.raises(decausal.UnsupportedModelError, match="has no border"):
        model(IDS, position_ids=PACKED, **borders(0, 3, 6, 9, 12) | {"cu_seq_lens_q": torch.tensor(ends)})


@pytest.mark.parametrize("missing", ["cu_seq_lens_k", "max_length_q"])
def test_flash_kernels_do_not_go_by_borders_of_which_transformers_misses_a_part(flash, missing):
    model, _ = flash
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="one row only, and this one has 2"):
        model(IDS, position_ids=PACKED, **borders(0, 3, 6, 9, 12) | {missing: None})


def test_flash_kernels_refuse_packed_documents_that_begin_at_different_positions(flash):
    model, _ = flash
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="begins at the same position"):
        model(IDS[:1], position_ids=torch.tensor([[5, 6, 7, 6, 7, 8]]))


def test_flash_kernels_refuse_packed_documents_beside_padding(flash):
    model, _ = flash
    decausal.unmask(model, "0011")
    with pytest.raises(decausal.UnsupportedModelError, match="does not look at positions where there is a padding"):
        model(IDS[:1], position_ids=PACKED, attention_mask=torch.tensor([[1, 1, 1, 1, 1, 0]]))


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_packed_documents_stay_apart_where_the_host_drops_the_mask(llama, attn_implementation, monkeypatch):
    model = llama(attn_implementation)
    decausal.unmask(model, "all")
    expected = torch.cat([model(IDS[:1, :3]).logits, model(IDS[:1, 3:]).logits], dim=1)
    monkeypatch.setattr(modeling_llama, "create_causal_mask", lambda **_: None)
    torch.testing.assert_close(model(IDS[:1], position_ids=PACKED).logits, expected, atol=1e-5, rtol=1e-5)


def masks_of_layers(model, **inputs):
    found = []
    hooks = [
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: found.append(kwargs["attention_mask"]), with_kwargs=True
        )
        for layer in model.model.layers
    ]
    model(IDS, **inputs)
    for hook in hooks:
        hook.remove()
    return found


def test_the_layers_of_one_forward_share_one_opened_mask(llama):
    model = llama()
    decausal.unmask(model, "all")
    masks = masks_of_layers(model)
    assert len(masks) == 4
    assert all(mask is masks[0] for mask in masks)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_causal_layers_get_what_they_get_in_the_untouched_model(llama, attn_implementation):
    model = llama(attn_implementation)
    padding = {"attention_mask": torch.tensor([[0, 1, 1, 1, 1, 1], [1] * 6])}
    whole, padded = masks_of_layers(model), masks_of_layers(model, **padding)
    decausal.unmask(model, "0100")
    for before, found in ((whole, masks_of_layers(model)), (padded, masks_of_layers(model, **padding))):
        for layer in (0, 2, 3):
            assert found[layer] is before[layer] is None or torch.equal(found[layer], before[layer])
        assert found[1] is None or not torch.equal(found[1], before[1])
    assert [mask is None for mask in whole] == [attn_implementation == "sdpa"] * 4


def test_no_opened_mask_outlives_its_forward(llama):
    model = llama()
    decausal.unmask(model, "all")
    with torch.no_grad():
        model(IDS)
    hook = next(iter(model.model.layers[0]._forward_pre_hooks.values()))
    assert len(hook.state._opened) == 0


def test_a_mask_with_more_keys_than_queries_is_refused_by_shape(llama):
    model = llama()
    decausal.unmask(model, "all")
    with pytest.raises(decausal.UnsupportedModelError, match=r"model\.layers\.0 got an attention mask of shape"):
        model(IDS, attention_mask=torch.zeros(2, 1, 6, 9))
