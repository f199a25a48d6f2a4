"""NF4 QLoRA of a randomly initialised 7B Mistral in bfloat16, on one GPU."""

import json

import pytest

from random_qlora import train

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("unmask", ["0011"])
def test_a_7b_model_is_audited_and_learns_in_four_bits(random_7b, results, tmp_path, capsys, unmask):
    facts = train(random_7b, tmp_path / "run", "cuda", unmask, steps=20)
    (results / "qlora_7b.json").write_text(json.dumps({"unmask": unmask, **facts}, indent=1) + "\n")
    with capsys.disabled():
        print(f" peak {facts['peak_bytes'] / 2**30:.2f} GiB, loaded {facts['loaded_bytes'] / 2**30:.2f} GiB ", end="")
    assert facts["audit"].endswith("audit passed")
    assert "(unmasked: 16-31)" in facts["audit"]
    assert sum(facts["losses"][-5:]) < 0.9 * sum(facts["losses"][:5])
