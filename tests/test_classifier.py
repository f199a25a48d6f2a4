import pytest
from transformers import Gemma3TextConfig, GPT2Config, LlamaConfig, T5Config

import decausal
from decausal._classifier import token_classification_class


@pytest.mark.parametrize(
    ("config", "name", "head"),
    [
        (
            LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2),
            "LlamaForTokenClassification",
            "score",
        ),
        (GPT2Config(n_embd=8, n_layer=1, n_head=2), "GPT2ForTokenClassification", "classifier"),
        (
            Gemma3TextConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, head_dim=4, vocab_size=16),
            "Gemma3ForTokenClassification",
            "score",
        ),
    ],
)
def test_every_architecture_gets_dropout_and_a_linear_head_with_bias(config, name, head):
    config.num_labels = 5
    model = token_classification_class(config)(config)
    assert type(model).__name__ == name
    assert getattr(model, head).weight.shape == (5, 8)
    assert getattr(model, head).bias is not None
    assert model.dropout.p == 0.1


def test_an_architecture_without_a_decoder_is_refused():
    with pytest.raises(decausal.UnsupportedModelError, match="no base model"):
        token_classification_class(type("NoConfig", (T5Config,), {"model_type": "none"})())
