import pytest

from bench_tables import tagging
from decausal.tagging.bench import Bench

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_both_taggers_tag_the_same_sentences(results_of, monkeypatch):
    seen = {}
    monkeypatch.setattr(tagging, "BATCH_SIZES", (8,))
    monkeypatch.setattr(tagging, "SENTENCES_PER_STEP", 8)
    monkeypatch.setattr(tagging.Tagger, "tag", lambda self, sentences: seen.setdefault("decausal", sentences))
    piped = tagging.pipeline

    def watched(*arguments, **settings):
        tag = piped(*arguments, **settings)
        return lambda texts, **options: seen.setdefault("pipeline", texts) and tag(texts, **options)

    monkeypatch.setattr(tagging, "pipeline", watched)
    found = results_of("predict")
    assert [" ".join(words) for words in seen["decausal"]] == seen["pipeline"]
    assert len(seen["pipeline"]) == found["sentences"] == 16
    names = ["pipeline", "pipeline, merged", "pipeline, merged, bfloat16", "decausal", "decausal, bfloat16"]
    assert list(found["results"]) == names
    assert [1.0, 1.0, 1.0] in [found["results"][name]["ratio"]["all"] for name in names[:3]]
    assert list(found["profiles"]) == names[3:]


def test_a_profile_of_tagging_has_the_shares_of_its_own_operations(recipe):
    bench = Bench([recipe])
    with tagging.saved(bench) as directory:
        tagger = tagging.Tagger.from_pretrained(directory)
    shares = tagging.profile_tagging(tagger, bench.corpus.sentences["train"]["tokens"][:4], 2)
    assert sum(shares.values()) == pytest.approx(1)
    assert "aten::mm" in shares
    assert not any("Backward" in name for name in shares)
