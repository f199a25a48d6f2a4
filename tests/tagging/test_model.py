import json
import shutil

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import PeftModel
from peft.tuners.lora import LoraLayer

import decausal
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import build_model, describe_layers, describe_parameters, sketch_model

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
# bitsandbytes 0.50 on a CPU warns that its kernels are the slow ones.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def build(recipe: str) -> torch.nn.Module:
    return build_model(*parse_recipe([recipe]), LABELS, 0)


@pytest.mark.parametrize("quantization", ["load_in_4bit", "load_in_8bit"])
def test_every_linear_layer_is_quantised_and_adapted_and_the_head_is_neither(recipe, quantization):
    model = build(recipe(**{quantization: True}))
    kinds = (Linear4bit, Linear8bitLt)
    quantised = {name.split(".")[-2] for name, module in model.named_modules() if isinstance(module, kinds)}
    adapted = {name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert quantised == adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    head = model.get_submodule("base_model.model.score.modules_to_save.default")
    assert type(head) is torch.nn.Linear
    assert head.weight.dtype == torch.float32
    assert head.weight.requires_grad
    assert head.bias is not None
    assert head.bias.requires_grad


@pytest.mark.parametrize(
    ("settings", "dropout"),
    [({}, 0.1), ({"hidden_dropout": 0.0}, 0.1), ({"hidden_dropout": 0.0, "classifier_dropout": 0.3}, 0.3)],
)
def test_the_head_has_the_papers_dropout_unless_the_model_says_otherwise(
    recipe, base_model, tmp_path, settings, dropout
):
    directory = shutil.copytree(base_model, tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | settings))
    model = build(recipe(model_name_or_path=str(directory)))
    assert model.get_submodule("base_model.model.dropout").p == dropout


def test_nf4_with_double_quantisation_is_what_four_bits_mean(recipe):
    model = build(recipe(load_in_4bit=True))
    weight = next(module for module in model.modules() if isinstance(module, Linear4bit)).weight
    assert weight.quant_state.quant_type == "nf4"
    assert weight.quant_state.nested
    assert describe_parameters(model).endswith("%), the base model in 4 bits")


def test_four_bits_give_the_same_gradients_after_an_evaluation(recipe, monkeypatch):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model = build(recipe(load_in_4bit=True, lora_dropout=0.0))
    model.get_submodule("base_model.model.dropout").p = 0.0
    ids = torch.arange(8)[None]

    def gradients() -> list[torch.Tensor]:
        model.train().zero_grad()
        model(input_ids=ids).logits.square().sum().backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]

    expected = gradients()
    with torch.no_grad():
        scores = model.eval()(input_ids=ids).logits
        assert torch.equal(scores, model.train()(input_ids=ids).logits)
    assert all(map(torch.equal, gradients(), expected))


def test_the_model_is_unmasked_under_its_adapter(recipe):
    model = build(recipe(unmask="0011"))
    assert isinstance(model, PeftModel)
    assert decausal.unmasked_layers(model) == (2, 3)
    assert decausal.audit(model).ok


def test_label_names_and_pattern_are_in_the_configuration(recipe):
    config = build(recipe(unmask="0011", max_length=64, stride=16)).get_base_model().config
    assert [config.id2label[i] for i in range(5)] == LABELS
    assert config.decausal["unmask"] == "0011"
    assert config.decausal["tagging"] == {"max_length": 64, "stride": 16, "label_position": "first", "num_copies": 1}
    assert config.architectures == ["LlamaForTokenClassification"]


def test_without_peft_every_weight_is_trained(recipe):
    model = build(recipe(use_peft=False))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert describe_parameters(model).endswith("(100.00 %)")


def test_quantised_weights_cannot_all_be_trained(recipe):
    with pytest.raises(ValueError, match="drop load_in_4bit"):
        build(recipe(use_peft=False, load_in_4bit=True))


@pytest.mark.parametrize("targets", [["q_proj"], "q_proj", ["q_proj", "v_proj"]])
def test_lora_targets_may_be_one_name_or_several(recipe, targets):
    model = build(recipe(lora_target_modules=targets))
    adapted = {name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert adapted == set([targets] if isinstance(targets, str) else targets)


def test_the_revision_of_the_base_model_is_kept_with_the_adapter(recipe):
    model = build(recipe(model_revision="v1.0"))
    assert model.peft_config["default"].revision == "v1.0"


def test_lora_is_refused_on_the_head(recipe):
    with pytest.raises(ValueError, match="names the head 'score'"):
        build(recipe(lora_target_modules=["q_proj", "score"]))


def test_a_pattern_that_does_not_fit_the_depth_is_refused(recipe):
    with pytest.raises(ValueError, match=r"5 groups.*4 decoder layers"):
        build(recipe(unmask="00111"))


def test_the_pattern_is_shown_with_its_layers(recipe):
    model = build(recipe(unmask="0011"))
    assert describe_layers(model, "0011") == ('unmask="0011": layers 2-3 of 4 are bidirectional (0 = input side)')


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dtype": "bfloat16"},
        {"dtype": "auto", "lora_target_modules": ["q_proj", "v_proj"]},
        {"use_peft": False},
        {"num_hidden_layers": 3, "unmask": "011"},
        {"load_in_8bit": True},
        {"load_in_4bit": True, "dtype": "bfloat16", "gradient_checkpointing": True},
    ],
)
def test_the_sketch_of_a_model_is_the_model_without_its_weights(recipe, fields):
    arguments = parse_recipe([recipe(**fields)])
    sketch, model = sketch_model(*arguments, LABELS), build_model(*arguments, LABELS, 0)
    assert {tensor.device.type for tensor in sketch.state_dict().values()} == {"meta"}
    assert decausal.unmasked_layers(sketch) == decausal.unmasked_layers(model)
    expected, found = ({n: _describe(p) for n, p in m.named_parameters()} for m in (model, sketch))
    assert found == expected


def _describe(weight: torch.nn.Parameter) -> tuple[object, ...]:
    # Four bits are packed when weights are read; a sketch has none to pack.
    shape = weight.quant_state.shape if getattr(weight, "quant_state", None) else weight.shape
    return type(weight), shape, weight.dtype, weight.requires_grad


def test_four_bits_need_a_number_type_to_compute_in(recipe):
    with pytest.raises(ValueError, match="dtype='auto' with load_in_4bit"):
        build(recipe(load_in_4bit=True, dtype="auto"))
