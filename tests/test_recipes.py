"""Every YAML under recipes/: it parses, patterns fit their models, data is read, and launch files are what they say."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from decausal import LayerPattern
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.data import read_sentences

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("recipes/launch/*.yaml"))
RECIPES = sorted({str(path.relative_to(ROOT)) for path in ROOT.glob("recipes/**/*.yaml")} - set(LAUNCH_FILES))
STRATEGIES = {"zero": "DEEPSPEED", "fsdp": "FSDP", "ddp": "MULTI_GPU"}
LAYERS = {"SmolLM2-135M-Instruct": 30, "smollm2-135m": 30, "all-MiniLM-L6-v2": 6}


def test_there_are_recipes_for_every_task():
    assert {Path(recipe).parent.name for recipe in RECIPES} >= {"ner", "chunking", "aspects", "events"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_parses_and_its_pattern_fits_its_model(recipe):
    tagging, model, training = parse_recipe([str(ROOT / recipe)])
    LayerPattern.parse(tagging.unmask).layers(LAYERS[Path(model.model_name_or_path).name])
    assert training.output_dir.startswith("outputs/")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_states_its_own_command_and_hardware(recipe):
    header = (ROOT / recipe).read_text(encoding="utf-8").partition("model_name_or_path:")[0]
    assert f"decausal.tagging.train {recipe}" in header
    assert "Hardware: " in header


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
