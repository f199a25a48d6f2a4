"""What a toolkit loads, trains and saves: it is unmasked, saved with its pattern, or refused."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTModel,
)
from transformers.integrations.peft import PeftAdapterMixin

import decausal
from decausal._checkpoint import record_beside
from decausal.hosts._join import Host
from decausal.hosts._seams import join_process
from decausal.hosts._wanted import Wanted

HOST = Host("Transformers", "transformers", tested="5.23.0", oldest="5.6", below="6")


@pytest.fixture
def joined():
    """Joins this process until the test ends; called again, it is asked for something else."""
    undos = []

    def join(unmask="0011", scope=None, report_dir=None):
        while undos:
            undos.pop()()
        undos.append(join_process(Wanted(unmask, scope, HOST, report_dir and str(report_dir))))
        return undos[0]

    yield join
    for undo in undos:
        undo()


@pytest.fixture
def causal(llama, tmp_path):
    llama().save_pretrained(tmp_path / "causal")
    return tmp_path / "causal"


@pytest.fixture
def adapter(causal, joined, tmp_path):
    """A LoRA adapter of a model that was joined with 0011, and the process left as it was."""
    undo = joined()
    model = get_peft_model(LlamaForCausalLM.from_pretrained(causal), LoraConfig(task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(tmp_path / "adapter")
    numbers = WordLevel({str(token): token for token in range(64)}, unk_token="0")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(numbers)).save_pretrained(tmp_path / "adapter")
    undo()
    return tmp_path / "adapter"


def record(directory):
    return json.loads((directory / "config.json").read_text()).get("decausal")


@pytest.mark.parametrize(
    ("model_class", "scope"),
    [
        (LlamaForCausalLM, "prompt"),
        (AutoModelForCausalLM, "prompt"),
        (AutoModel, "all"),
        (AutoModelForTokenClassification, "all"),
    ],
)
def test_what_from_pretrained_returns_is_unmasked_in_the_scope_that_fits(causal, joined, capsys, model_class, scope):
    joined()
    model = model_class.from_pretrained(causal)
    assert decausal.unmasked_layers(model) == (2, 3)
    assert model.config.decausal["scope"] == scope
    assert capsys.readouterr().out.count("decausal: joined Transformers") == 1


def test_the_loading_info_is_still_returned(causal, joined):
    joined()
    model, info = LlamaForCausalLM.from_pretrained(causal, output_loading_info=True)
    assert decausal.unmasked_layers(model) == (2, 3)
    assert not info["missing_keys"]


def test_a_class_with_a_from_pretrained_of_its_own_is_joined_once(causal, joined, capsys):
    class Special(LlamaForCausalLM):
        @classmethod
        def from_pretrained(cls, *args, **kwargs):
            return super().from_pretrained(*args, **kwargs)

    joined()
    assert decausal.unmasked_layers(Special.from_pretrained(causal)) == (2, 3)
    assert capsys.readouterr().out.count("joined") == 1


def test_a_model_inside_of_a_wrapper_is_unmasked(causal, joined):
    class WithValueHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.pretrained_model = AutoModelForCausalLM.from_pretrained(causal)
            self.v_head = nn.Linear(32, 1)

    joined()
    model = WithValueHead()
    assert decausal.unmasked_layers(model) == (2, 3)
    assert decausal.unmasked_layers(Accelerator(cpu=True).prepare(model)) == (2, 3)


@pytest.mark.parametrize(
    "model",
    [
        BertModel(
            BertConfig(vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        ),
        T5ForConditionalGeneration(
            T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
        ),
        ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)),
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])),
    ],
    ids=["encoder", "encoder-decoder", "pictures", "no layers"],
)
def test_what_is_no_decoder_is_left_alone(model, joined, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    reports = tmp_path / "reports"
    reports.mkdir()
    joined(report_dir=reports)
    type(model).from_pretrained(tmp_path / "model")
    assert re.search(f"left alone.*{type(model).__name__}", capsys.readouterr().out)
    assert not list(reports.iterdir())


def test_undoing_puts_the_process_back(causal, joined):
    names = (
        (PreTrainedModel, "from_pretrained"),
        (PeftAdapterMixin, "load_adapter"),
        (PeftModel, "load_adapter"),
        (PeftModel, "save_pretrained"),
        (Accelerator, "prepare"),
        (Trainer, "train"),
    )
    before = [owner.__dict__[name] for owner, name in names]
    undo = joined()
    assert not any(owner.__dict__[name] is old for (owner, name), old in zip(names, before, strict=True))
    undo()
    assert [owner.__dict__[name] for owner, name in names] == before
    assert decausal.unmasked_layers(LlamaForCausalLM.from_pretrained(causal)) == ()


def test_a_checkpoint_is_loaded_as_it_records(causal, joined, tmp_path):
    joined("0110")
    LlamaForCausalLM.from_pretrained(causal).save_pretrained(tmp_path / "saved")
    joined(None)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "saved")
    assert decausal.unmasked_layers(model) == (1, 2)
    assert model.config.decausal == record(tmp_path / "saved")
    assert decausal.unmasked_layers(LlamaForCausalLM.from_pretrained(causal)) == ()


def test_a_window_that_is_recorded_is_lifted_here_too(llama, joined, tmp_path):
    model = AutoModelForTokenClassification.from_config(llama().config)
    decausal.unmask(model, "0110", window="full")
    model.save_pretrained(tmp_path / "saved")
    joined(None)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "saved")
    assert model.config.decausal == record(tmp_path / "saved")
    assert decausal.Handle.of(model).layers == (1, 2)
    decausal.unmask(model, "0110", window="full")  # is refused where another window is open


def test_a_record_that_contradicts_its_configuration_is_refused(causal, adapter, joined):
    config = json.loads((adapter / "config.json").read_text())
    config["decausal"]["layers"] = [0]
    (adapter / "config.json").write_text(json.dumps(config))
    joined(None)
    with pytest.raises(decausal.CheckpointError, match=r"means the layers \[2, 3\], but the recorded layers are \[0\]"):
        PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(causal), adapter)


def test_a_damaged_configuration_beside_an_adapter_is_no_missing_one(causal, adapter, joined):
    (adapter / "config.json").write_text("{")
    joined(None)
    with pytest.raises(decausal.CheckpointError, match=r"config\.json cannot be read"):
        PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(causal), adapter)


def test_an_adapter_upon_a_model_that_is_unmasked_otherwise_is_refused(causal, adapter, joined):
    joined(None)
    model = LlamaForCausalLM.from_pretrained(causal)
    decausal.unmask(model, "1100", scope="prompt")
    with pytest.raises(decausal.CheckpointError, match=r"layers=\[2, 3\], and the model .* layers=\[0, 1\]"):
        PeftModel.from_pretrained(model, adapter)


@pytest.mark.parametrize(("unmask", "scope"), [("0011", None), ("none", None), ("0110", "all")])
def test_a_checkpoint_that_records_something_else_is_refused(causal, joined, tmp_path, unmask, scope):
    joined("0110")
    LlamaForCausalLM.from_pretrained(causal).save_pretrained(tmp_path / "saved")
    joined(unmask, scope)
    with pytest.raises(
        decausal.CheckpointError, match=rf'saved with unmask="0110", scope="prompt".*asks for unmask="{unmask}"'
    ):
        LlamaForCausalLM.from_pretrained(tmp_path / "saved")


def test_the_pattern_is_saved_beside_an_adapter(adapter):
    assert record(adapter)["layers"] == [2, 3]
    model, _ = decausal.load(adapter)
    assert decausal.unmasked_layers(model) == (2, 3)


def test_the_configuration_beside_an_adapter_names_the_class_that_was_trained(causal, adapter, joined):
    joined()
    model = AutoModelForTokenClassification.from_pretrained(causal, num_labels=7)
    get_peft_model(model, LoraConfig(task_type="TOKEN_CLS")).save_pretrained(adapter)
    assert json.loads((adapter / "config.json").read_text())["architectures"] == ["LlamaForTokenClassification"]
    assert model.config.architectures == ["LlamaForCausalLM"]


def test_an_adapter_is_saved_with_its_pattern_by_the_main_process_only(causal, joined, tmp_path):
    joined()
    model = get_peft_model(LlamaForCausalLM.from_pretrained(causal), LoraConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter", is_main_process=False)
    assert not (tmp_path / "adapter" / "config.json").exists()


def test_nothing_is_saved_beside_the_adapter_of_a_causal_model(causal, joined, tmp_path):
    joined(None)
    model = get_peft_model(LlamaForCausalLM.from_pretrained(causal), LoraConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "config.json").exists()


def load_by_transformers(base, adapter):
    model = LlamaForCausalLM.from_pretrained(base)
    model.load_adapter(adapter)
    return model


def load_a_second_adapter(base, adapter):
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM"), "first")
    model.load_adapter(adapter, "second")
    model.set_adapter("second")
    return model


@pytest.mark.parametrize(
    "load",
    [
        lambda base, adapter: PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), adapter),
        lambda base, adapter: AutoPeftModelForCausalLM.from_pretrained(adapter),
        lambda base, adapter: AutoModelForCausalLM.from_pretrained(adapter),
        load_by_transformers,
        load_a_second_adapter,
    ],
    ids=["PeftModel", "AutoPeftModel", "AutoModel", "load_adapter", "second adapter"],
)
def test_an_adapter_is_loaded_as_the_configuration_beside_it_records(causal, adapter, joined, load):
    ids = torch.tensor([[5, 9, 23, 7]])
    expected = decausal.load(adapter)[0].generate(ids, max_new_tokens=4, do_sample=False)
    joined(None)
    model = load(causal, adapter).eval()
    assert decausal.unmasked_layers(model) == (2, 3)
    assert model.config.decausal == record(adapter)
    assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), expected)


def test_a_model_joined_otherwise_than_its_adapter_is_refused(causal, adapter, joined):
    joined("0110")
    model = LlamaForCausalLM.from_pretrained(causal)
    with pytest.raises(
        decausal.CheckpointError, match=r'unmask="0011", scope="prompt", and this run asks for .*"0110"'
    ):
        PeftModel.from_pretrained(model, adapter)


def test_a_hub_that_does_not_answer_is_no_missing_record(tmp_path):
    with pytest.raises(OSError, match="whether nobody/nothing records a pattern cannot be known"):
        record_beside("nobody/nothing", cache_dir=tmp_path)


def test_an_adapter_that_records_nothing_leaves_its_model_as_it_is(causal, adapter, joined):
    (adapter / "config.json").unlink()
    joined(None)
    assert decausal.unmasked_layers(AutoPeftModelForCausalLM.from_pretrained(adapter)) == ()


def test_an_adapter_in_a_folder_of_a_repository_is_not_held_for_the_one_beside_it(causal, adapter, joined):
    undo = joined(None)
    model = get_peft_model(LlamaForCausalLM.from_pretrained(causal), LoraConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(adapter / "other")
    (adapter / "other" / "config.json").write_text((causal / "config.json").read_text())
    undo()
    joined(None)
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(causal), adapter, subfolder="other")
    assert decausal.unmasked_layers(model) == ()


def test_training_a_causal_model_is_refused(llama, joined):
    joined()
    with pytest.raises(decausal.UnsupportedModelError, match=r"LlamaForCausalLM is about to be trained.*no layer"):
        Accelerator(cpu=True).prepare(llama())
    joined("none")
    Accelerator(cpu=True).prepare(llama())


def test_a_causal_model_that_is_trained_beside_an_unmasked_one_is_refused(llama, joined):
    joined()
    teacher, student, critic = llama(), llama(), nn.Linear(4, 1)
    decausal.unmask(teacher, "0011", scope="prompt")
    Accelerator(cpu=True).prepare(teacher, critic)
    with pytest.raises(decausal.UnsupportedModelError, match="LlamaForCausalLM is about to be trained"):
        Accelerator(cpu=True).prepare(teacher, student)


def test_a_causal_model_that_is_not_trained_may_be_prepared(llama, joined):
    joined()
    model = llama().requires_grad_(False)
    assert Accelerator(cpu=True).prepare(model) is model


@pytest.fixture
def trainer(causal, tmp_path):
    def build():
        model = LlamaForCausalLM.from_pretrained(causal)
        return Trainer(model=model, args=TrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to=[]))

    return build


@pytest.mark.parametrize(("unmask", "saved"), [("0011", "1100"), ("none", "1100"), ("0011", "none")])
def test_training_goes_on_only_from_a_checkpoint_of_its_own_kind(llama, trainer, joined, tmp_path, unmask, saved):
    checkpoint = tmp_path / "run" / "checkpoint-1"
    model = llama()
    decausal.unmask(model, saved, scope="prompt")
    model.save_pretrained(checkpoint)
    joined(unmask)
    run = trainer()
    message = "was trained causal" if saved == "none" else f'saved with unmask="{saved}".*asks for unmask="{unmask}"'
    for place in (str(checkpoint), True):
        with pytest.raises(decausal.CheckpointError, match=message):
            run.train(resume_from_checkpoint=place)


def test_training_goes_on_from_its_own_checkpoint(llama, trainer, joined, tmp_path):
    model = llama()
    decausal.unmask(model, "0011", scope="prompt")
    model.save_pretrained(tmp_path / "run" / "checkpoint-1")
    joined()
    with pytest.raises(FileNotFoundError, match="trainer_state"):  # the trainer's own, from behind our check
        trainer().train(resume_from_checkpoint=True)


@pytest.mark.parametrize("name", ["cp_size", "sp_size"])
def test_rows_split_over_processes_are_refused(causal, joined, name):
    joined()
    accelerator = SimpleNamespace(parallelism_config=SimpleNamespace(**{name: 2}))
    with pytest.raises(decausal.UnsupportedModelError, match=f"Transformers: {name}=2"):
        Accelerator.prepare(accelerator, LlamaForCausalLM.from_pretrained(causal))


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "0-of-0-1"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "1-of-1-2"),
        ({"RANK": "3", "LOCAL_RANK": "1", "LOCAL_SIZE": "2"}, "3-of-2-4"),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, "5-of-4-8"),
    ],
)
def test_a_process_says_which_of_those_on_its_machine_has_joined(
    causal, joined, tmp_path, monkeypatch, environment, name
):
    for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "reports").mkdir()
    joined(report_dir=tmp_path / "reports")
    LlamaForCausalLM.from_pretrained(causal)
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [name]


def test_a_script_that_unmasks_its_model_itself_has_joined_when_it_trains(llama, joined, tmp_path):
    joined(None, report_dir=tmp_path)
    model = llama()
    decausal.unmask(model, "0011", scope="prompt")
    Accelerator(cpu=True).prepare(model)
    assert len(list(tmp_path.glob("*-of-*"))) == 1


def test_what_is_wanted_reaches_a_child_as_it_was_said():
    wanted = Wanted("0011", "prompt", HOST, "/tmp/reports")
    assert Wanted.from_json(wanted.to_json()) == wanted
