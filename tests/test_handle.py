"""What a handle gives back, and what a model carries along."""

import copy
import pickle

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import decausal
from rows import IDS, future_moves, logits


def test_a_layer_stays_open_until_its_last_handle_is_removed(llama):
    model = llama()
    first, second = decausal.unmask(model, "1100"), decausal.unmask(model, "0110")
    assert decausal.unmasked_layers(model) == (0, 1, 2)
    first.remove()
    assert decausal.unmasked_layers(model) == (1, 2)
    assert model.config.decausal["unmask"] == "0110"
    second.remove()
    assert decausal.unmasked_layers(model) == ()


def test_a_handle_is_shown_without_the_model_around_it(llama):
    assert repr(decausal.unmask(llama(), "0011")) == "Handle(layers=(2, 3))"


def test_two_handles_agree_on_the_window(llama):
    model = llama()
    decausal.unmask(model, "1100")
    for pattern in ("0100", "0011"):
        with pytest.raises(ValueError, match=r"layer 0 is already unmasked with window='symmetric'"):
            decausal.unmask(model, pattern, window="full")


def test_a_handle_of_a_model_is_for_everything_that_is_attached(llama):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    decausal.unmask(model, "1100")
    decausal.unmask(model, "0110")
    handle = decausal.Handle.of(model)
    assert handle.layers == (0, 1, 2)
    with handle.paused():
        assert torch.equal(logits(model, input_ids=IDS), before)
        with pytest.raises(ValueError, match="layer 1 is paused by another handle"):
            decausal.unmask(model, "0100")
    assert future_moves(model)
    handle.remove()
    assert torch.equal(logits(model, input_ids=IDS), before)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_with_block_removes_at_its_end(llama):
    model = llama()
    with decausal.unmask(model, "all") as handle:
        assert handle.layers == (0, 1, 2, 3)
    assert decausal.unmasked_layers(model) == ()


def test_paused_gives_the_causal_model_back(llama):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    handle = decausal.unmask(model, "all")
    after = logits(model, input_ids=IDS)
    with handle.paused():
        assert decausal.unmasked_layers(model) == ()
        assert torch.equal(logits(model, input_ids=IDS), before)
        with handle.paused():
            assert not future_moves(model)
        assert not future_moves(model)
    assert torch.equal(logits(model, input_ids=IDS), after)


@pytest.mark.parametrize("pattern", ["none", "0001", "0110", "1,2", "all"])
def test_only_opens_the_layers_of_a_pattern_exactly_as_unmasking_them_does(llama, pattern):
    wanted = llama("sdpa")
    decausal.unmask(wanted, pattern)
    model = llama("sdpa")
    handle = decausal.unmask(model, "all")
    before = logits(model, input_ids=IDS)
    with handle.only(pattern):
        assert decausal.unmasked_layers(model) == decausal.unmasked_layers(wanted)
        assert torch.equal(logits(model, input_ids=IDS), logits(wanted, input_ids=IDS))
        assert decausal.audit(model, pattern).ok
    assert torch.equal(logits(model, input_ids=IDS), before)


def test_only_leaves_alone_what_another_handle_has_unmasked(llama):
    model = llama()
    decausal.unmask(model, "1000")
    handle = decausal.unmask(model, "0111")
    with handle.only("0010"):
        assert decausal.unmasked_layers(model) == (0, 2)
        with handle.paused():
            assert decausal.unmasked_layers(model) == (0,)
        assert decausal.unmasked_layers(model) == (0, 2)
    assert decausal.unmasked_layers(model) == (0, 1, 2, 3)


@pytest.mark.parametrize("unmasked", ["0011", "none"])
def test_only_refuses_layers_that_the_handle_has_not_unmasked(llama, unmasked):
    handle = decausal.unmask(llama(), unmasked)
    with pytest.raises(ValueError, match=r'only\("0110"\) needs layers 1.*has unmasked'), handle.only("0110"):
        pass


def test_only_refuses_what_would_stay_causal(llama):
    model = llama()
    handle = decausal.unmask(model, "all")
    paused = r'only\("0100"\): layers 1 are paused; call it outside'
    with handle.paused(), pytest.raises(ValueError, match=paused), handle.only("0100"):
        pass
    with handle.only("0011"), pytest.raises(ValueError, match=paused), handle.only("0100"):
        pass
    assert decausal.unmasked_layers(model) == (0, 1, 2, 3)
    handle.remove()
    with (
        pytest.raises(ValueError, match=r'only\("0100"\) needs layers 1, and this handle has unmasked none'),
        handle.only("0100"),
    ):
        pass


def test_only_takes_layers_that_are_one_module_together(llama):
    model = llama("sdpa")
    model.model.layers[2] = model.model.layers[1]
    handle = decausal.unmask(model, "all")
    with handle.only("0110"):
        assert decausal.audit(model, "0110").ok
    with decausal.Handle.of(model).only("all"):
        assert decausal.audit(model, "all").ok
    for pattern in ("0100", "0010"):
        with pytest.raises(ValueError, match="is the same module as one of these"), handle.only(pattern):
            pass


def test_a_handle_may_be_removed_while_paused(llama):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    handle = decausal.unmask(model, "all")
    with handle.paused():
        handle.remove()
    assert torch.equal(logits(model, input_ids=IDS), before)
    assert all(layer.self_attn.is_causal for layer in model.model.layers)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_model_and_handle_is_unmasked_on_its_own(llama, duplicate):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    handle = decausal.unmask(model, "0011")
    after = logits(model, input_ids=IDS)
    copied, copied_handle = duplicate((model, handle))
    assert torch.equal(logits(copied, input_ids=IDS), after)
    copied_handle.remove()
    assert torch.equal(logits(copied, input_ids=IDS), before)
    assert torch.equal(logits(model, input_ids=IDS), after)


def test_the_pattern_is_written_into_the_configuration(llama):
    model = llama()
    decausal.unmask(model, "0011")
    assert model.config.decausal == {
        "unmask": "0011",
        "layers": [2, 3],
        "num_hidden_layers": 4,
        "model_type": "llama",
        "scope": "all",
        "window": "symmetric",
    }


def test_none_attaches_nothing(llama):
    model = llama()
    handle = decausal.unmask(model, "none")
    assert handle.layers == ()
    assert not any(module._forward_pre_hooks for module in model.modules())
    handle.remove()


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_model_that_is_compiled_already_is_unmasked_and_given_back(llama, attn_implementation):
    model = llama(attn_implementation)
    compiled = torch.compile(model, backend="eager")
    causal = logits(compiled, input_ids=IDS, use_cache=False)
    for pattern in ("0011", "1100"):
        with decausal.unmask(model, pattern):
            expected = logits(model, input_ids=IDS)
            torch.testing.assert_close(logits(compiled, input_ids=IDS, use_cache=False), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(logits(compiled, input_ids=IDS, use_cache=False), causal)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps])
def test_a_paused_model_is_not_copied_because_the_copy_would_stay_causal(llama, duplicate):
    model = llama()
    handle = decausal.unmask(model, "0011")
    with handle.paused(), pytest.raises(RuntimeError, match=r"model\.layers\.2 is paused.*outside"):
        duplicate(model)


@pytest.mark.parametrize("wrap", [checkpoint_wrapper, lambda layer: torch.compile(layer, backend="eager")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_layers_may_be_wrapped_before_and_after(llama, wrap):
    model = llama("sdpa")
    before = logits(model, input_ids=IDS)
    first = decausal.unmask(model, "0011")
    for index, layer in enumerate(model.model.layers):
        model.model.layers[index] = wrap(layer)
    second = decausal.unmask(model, "0110")
    assert decausal.unmasked_layers(model) == (1, 2, 3)
    assert decausal.audit(model).ok
    first.remove()
    second.remove()
    torch.testing.assert_close(logits(model, input_ids=IDS), before, atol=1e-6, rtol=1e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_handle_whose_layers_were_cut_off_leaves_nothing_behind(llama):
    model = llama()
    handle = decausal.unmask(model, "0011")
    del model.model.layers[2:]
    handle.remove()
    assert not hasattr(model.config, "decausal")
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_none_forgets_the_record_of_a_model_that_was_loaded_causal(llama):
    model = llama()
    decausal.unmask(model, "0011")
    causal = type(model)(model.config)
    decausal.unmask(causal, "none")
    assert not hasattr(causal.config, "decausal")
