import pytest
import torch

from bench_tables import compiling

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def graphs(monkeypatch) -> list[torch.fx.GraphModule]:
    """What torch.compile has traced, and runs as it stands instead of compiling it."""
    traced = []

    def backend(graph, _):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling.compiling, "__defaults__", (backend,))
    return traced


def test_the_compiled_model_tags_the_same_sentences_and_is_itself_again(results_of, graphs, monkeypatch):
    taggers = []
    tag = compiling.Tagger.tag

    def watched(tagger, sentences):
        taggers.append((tagger, len(sentences), "forward" in vars(tagger.model)))
        return tag(tagger, sentences)

    monkeypatch.setattr(compiling.Tagger, "tag", watched)
    found = results_of("compile", "--repetitions", "1")
    assert list(found["results"]) == ["as it is", "compiled"]
    assert found["results"]["as it is"]["ratio"]["all"] == [1.0]
    assert {count for _, count, _ in taggers} == {found["sentences"]} == {32}
    assert [is_compiled for _, _, is_compiled in taggers] == [True, False, True, False, True]
    assert len(graphs) > 0
    assert "forward" not in vars(taggers[0][0].model)
