"""Every causal language model of transformers, shrunk: its first layers are what they were, or it is refused."""

import pytest
import torch

import decausal
import zoo
from decausal._classifier import token_classification_class
from decausal._layers import find_decoder_stack
from decausal.tagging.early_exit import keep_first_layers

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]

IDS = torch.tensor([[5, 9, 23, 7, 41, 3], [8, 2, 60, 33, 12, 6]])
_ENCODER_DECODERS = """
    bart bigbird_pegasus blenderbot blenderbot-small marian mbart mvp pegasus plbart whisper
"""
REFUSED = {
    **dict.fromkeys(_ENCODER_DECODERS.split(), "more than the layers of one text decoder or encoder"),
    # The last layers read keys of earlier ones; with half of the layers, those would not be there.
    "gemma3n_text": "cannot be built without the rest of its 4 layers.*layer types producing a cache",
    "gemma4": "model_type='gemma4_text' cannot be built without the rest of its 4 layers",
    "gemma4_text": "cannot be built without the rest of its 4 layers",
    # The last layer is always one without a window.
    "gemma4_unified": r"layers\.1\.self_attn: is_sliding is False, and True in the whole model",
    "gemma4_unified_text": r"layers\.1\.self_attn: is_sliding is False, and True in the whole model",
    # Only the last layer has that bias.
    "gpt_neox_japanese": r"layers\.1\.attention: the shape of dense_bias",
    "hrm_text": "the same modules whatever num_hidden_layers is",
    "minicpm3": r"layers\.0: residual_scale is 0\.98\d+, and 0\.7 in the whole model",
    "olmo_hybrid": "cannot be built without the rest of its 4 layers.*at least one attention layer",
    "xlstm": "the same modules whatever num_hidden_layers is",
}
NOT_HELD = {
    **dict.fromkeys(("blt", "emu3", "musicgen", "musicgen_melody", "trocr"), "no tagger can be built"),
    **dict.fromkeys(
        ("falcon_mamba", "llama4", "mamba", "mamba2", "reformer"), "a tagger cannot read what the model returns"
    ),
    **dict.fromkeys(("deepseek_v4", "longcat_flash", "rwkv", "xlm", "xlnet"), "no list of decoder layers is found"),
    "prophetnet": "its small model has two layers",
}
EXACT = [name for name in zoo.MODEL_TYPES if name not in {**REFUSED, **NOT_HELD, **zoo.NOT_BUILT}]


@pytest.mark.parametrize("model_type", EXACT)
def test_the_first_layers_of_every_model_type_give_what_the_whole_model_gives_behind_them(model_type):
    config = zoo.small_config(model_type)
    kept_config = keep_first_layers(config, 2)
    model_class = token_classification_class(config)
    whole, kept = model_class(config).eval(), model_class(kept_config).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    assert kept.load_state_dict(whole.state_dict(), strict=False).missing_keys == []
    path = find_decoder_stack(whole).layers[0].name.rpartition(".")[0]
    del whole.get_submodule(path)[2:]
    with torch.no_grad():
        found, expected = (model(input_ids=IDS, use_cache=False).logits for model in (kept, whole))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("model_type", REFUSED)
def test_model_types_whose_first_layers_depend_on_the_last_are_refused_with_the_difference(model_type):
    config = zoo.small_config(model_type)
    with pytest.raises(decausal.UnsupportedModelError, match=rf"^num_hidden_layers=2: .*{REFUSED[model_type]}"):
        keep_first_layers(config, 2)


def test_in_a_multimodal_model_the_layers_of_the_text_are_cut():
    config = zoo.small_config("gemma3")
    kept = keep_first_layers(config, 2)
    assert (kept.text_config.num_hidden_layers, len(kept.text_config.layer_types)) == (2, 2)
    assert kept.vision_config == config.vision_config
    assert (config.text_config.num_hidden_layers, len(config.text_config.layer_types)) == (4, 4)
