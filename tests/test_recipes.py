"""Every YAML under recipes/: its model is built at its real size, its data are read, launch files are what they say."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import nn

from decausal import LayerPattern, unmasked_layers
from decausal._classifier import HEAD_NAMES
from decausal.tagging.arguments import parse_recipe, read_recipe
from decausal.tagging.data import read_sentences
from decausal.tagging.model import sketch_model
from decausal.tagging.plan.plan import CUDA_CONTEXT
from decausal.tagging.plan.step import FakeStep
from decausal.tagging.plan.strategy import Strategy, Weights, device_memory
from decausal.tagging.precision import mixed_precision
from real_models import REAL_MODELS

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("recipes/launch/*.yaml"))
OTHERS = (
    "launch",
    "pretrain_68m",
    "instruct",
    "paper",
)  # what is in these folders trains no tagger, or is tested alone
RECIPES = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.glob("recipes/*/*.yaml") if path.parent.name not in OTHERS
)
STRATEGIES = {"zero": "DEEPSPEED", "fsdp": "FSDP", "ddp": "MULTI_GPU"}
LABELS = ["O", "B-LOC", "I-LOC"]
OF_THE_TASK = {"train_file", "validation_file", "test_file", "columns", "tag_scheme", "output_dir"}
FAMILIES = sorted({Path(recipe).name for recipe in RECIPES})
SLOW = ("llama-2-7b", "llama-3.1-8b", "qwen3-8b", "gemma-2-9b")  # planned as Mistral-7B is, which the gate plans
PLANNED = re.compile(
    r"# Memory: (?P<memory>[\d.]+) GiB of one GPU planned for (?P<batch_size>\d+) windows of (?P<length>\d+) sub-words;"
)


def sketch_recipe(recipe: str, directory: Path) -> SimpleNamespace:
    """A recipe's arguments, and its model at its real size on the meta device."""
    real = REAL_MODELS[read_recipe(ROOT / recipe)["model_name_or_path"]]
    flags = ["--model_name_or_path", real.save(directory), "--use_cpu", "true"]
    if "bf16" not in read_recipe(ROOT / recipe):
        flags += ["--bf16", "false"]  # else this machine's processor decides
    tagging, model_config, training = parse_recipe([str(ROOT / recipe), *flags])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bitsandbytes on a CPU has much to say
        model = sketch_model(tagging, model_config, training, LABELS)
    return SimpleNamespace(model=model, tagging=tagging, config=model_config, training=training, real=real)


@pytest.fixture(scope="module", params=RECIPES)
def sketch(request, tmp_path_factory) -> SimpleNamespace:
    return sketch_recipe(request.param, tmp_path_factory.mktemp("real"))


def header_of(recipe: str) -> str:
    return (ROOT / recipe).read_text(encoding="utf-8").partition("model_name_or_path:")[0]


def names_of(model: nn.Module, kind: type) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


def test_there_are_recipes_for_every_task():
    assert {Path(recipe).parent.name for recipe in RECIPES} >= {"ner", "chunking", "aspects", "events"}


def test_a_recipes_model_has_the_size_that_was_published(sketch):
    added = ("lora_", *(f"{name}." for name in HEAD_NAMES))
    sizes = [weight.numel() for name, weight in sketch.model.named_parameters() if not any(a in name for a in added)]
    assert sum(sizes) == sketch.real.num_parameters


def test_a_recipes_pattern_is_what_its_model_has_unmasked(sketch):
    expected = LayerPattern.parse(sketch.tagging.unmask).layers(sketch.real.num_layers)
    assert unmasked_layers(sketch.model) == expected


def test_four_bits_are_for_every_linear_layer_but_the_head(sketch):
    quantised = names_of(sketch.model, Linear4bit)
    assert len(quantised) == sketch.config.load_in_4bit * sketch.real.num_linears * sketch.real.num_layers
    assert not any(part in HEAD_NAMES for name in quantised for part in name.split("."))


def test_lora_is_for_what_the_recipe_names_and_the_head_trains_beside_it(sketch):
    targets = sketch.config.lora_target_modules or ["all"] * sketch.real.num_linears
    adapted = names_of(sketch.model, LoraLayer)
    assert len(adapted) == sketch.config.use_peft * len(targets) * sketch.real.num_layers
    assert not any(part in HEAD_NAMES for name in adapted for part in name.split("."))
    trained = {name for name, weight in sketch.model.named_parameters() if weight.requires_grad}
    heads = {name for name in trained if any(part in HEAD_NAMES for part in name.split("."))}
    assert {name.rpartition(".")[2] for name in heads} >= {"weight", "bias"}
    frozen = sketch.config.use_peft
    assert all("lora_" in name for name in trained - heads) == frozen


@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_of_one_model_differ_in_what_is_the_tasks_only(family):
    found = [read_recipe(ROOT / recipe) for recipe in RECIPES if Path(recipe).name == family]
    shared = [{key: value for key, value in fields.items() if key not in OF_THE_TASK} for fields in found]
    assert all(fields == shared[0] for fields in shared)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, marks=pytest.mark.long if Path(recipe).name.startswith(SLOW) else ())
        for recipe in RECIPES
        if recipe.startswith("recipes/ner/")
    ],
)
def test_the_memory_that_a_recipe_states_is_what_is_planned(recipe, tmp_path):
    stated = PLANNED.search(header_of(recipe))
    if stated is None:  # what it takes was seen on a CPU
        assert re.search(r"# Hardware: two CPU cores and \d GiB of memory", header_of(recipe))
        return
    sketch = sketch_recipe(recipe, tmp_path)
    step = FakeStep(sketch.model, sketch.training, on_gpu=True)
    batch_size, length = int(stated["batch_size"]), int(stated["length"])
    assert batch_size == sketch.training.per_device_train_batch_size
    held = step.measure(batch_size, length)
    parts, _ = device_memory(Weights.of(step.model), held, Strategy(), mixed_precision(sketch.training))
    assert (sum(parts.values()) + CUDA_CONTEXT) / 2**30 == pytest.approx(float(stated["memory"]), abs=0.06)


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe.endswith("_paper.yaml")])
def test_a_paper_recipe_has_the_papers_numbers(recipe):
    _, model, training = parse_recipe([str(ROOT / recipe), "--use_cpu", "true"])
    assert (model.lora_r, model.lora_alpha, model.lora_dropout, len(model.lora_target_modules)) == (64, 16, 0.1, 2)
    assert (model.load_in_4bit, model.bnb_4bit_quant_type, model.use_bnb_nested_quant) == (True, "nf4", True)
    assert (training.optim, training.adam_beta1, training.adam_beta2) == ("paged_adamw_8bit", 0.9, 0.95)
    assert (training.adam_epsilon, training.weight_decay, training.learning_rate) == (1e-5, 0.1, 2e-4)
    assert (training.lr_scheduler_type, training.warmup_steps, training.max_grad_norm) == ("cosine", 0, 1.0)
    assert (training.num_train_epochs, training.per_device_train_batch_size) == (5, 16)
    assert (training.gradient_accumulation_steps, training.seed) == (4, 120)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_states_its_own_command_and_hardware(recipe):
    header = header_of(recipe)
    assert f"decausal.tagging.train {recipe}" in header
    assert "Hardware: " in header


@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_of_one_model_state_one_memory(family):
    assert len({tuple(PLANNED.findall(header_of(recipe))) for recipe in RECIPES if Path(recipe).name == family}) == 1


@pytest.mark.parametrize("file", LAUNCH_FILES)
def test_a_launch_file_is_one_that_accelerate_reads_and_states_its_own_command(file):
    config = load_config_from_file(str(ROOT / file))
    name = Path(file).stem
    strategy = next((kind for prefix, kind in STRATEGIES.items() if prefix in name), "NO")
    assert config.distributed_type == strategy
    assert (config.num_processes > 1) == (strategy != "NO")
    if strategy == "DEEPSPEED":
        assert f"zero{config.deepspeed_config['zero_stage']}" in name
    if strategy == "FSDP":
        assert config.fsdp_config["fsdp_version"] == 2
    header = (ROOT / file).read_text(encoding="utf-8").partition("compute_environment:")[0]
    assert f"accelerate launch --config_file {file}" in header


@pytest.mark.parametrize(
    ("recipe", "file", "entities"),
    [
        ("chunking/smollm2-135m_lora", "conll2000/test.txt", 23852),
        ("aspects/smollm2-135m_lora", "semeval14_restaurants/Restaurants_Test_Gold.xml", 1134),
        ("aspects/smollm2-135m_lora", "rest14_iob2/test.txt", 1132),
        ("events/smollm2-135m_lora", "litbank_events/*.tsv", 7849),
        ("ner/smollm2-135m_lora", "conll2003/eng.testb", 5648),
        ("ner/minilm_full", "wikigold/wikigold.conll.txt", 3558),
    ],
)
def test_a_recipe_reads_the_corpus_of_its_task(shared, recipe, file, entities):
    tagging, _, _ = parse_recipe([str(ROOT / "recipes" / f"{recipe}.yaml")])
    _, report = read_sentences(shared / "data" / file, columns=tagging.columns, tag_scheme=tagging.tag_scheme)
    assert report.entities == entities
