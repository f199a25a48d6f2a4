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

    for table in (compiling.compile_tagging, compiling.compile_training):
        monkeypatch.setattr(table, "__defaults__", (backend,))
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


def test_the_compiled_model_trains_on_the_same_rows(results_of, graphs, monkeypatch):
    steps = []
    time_steps = compiling.Bench.time_steps

    def watched(bench, batches):
        steps.append((len(batches), "position_ids" in batches[0], "forward" in vars(bench.model)))
        return time_steps(bench, batches)

    monkeypatch.setattr(compiling.Bench, "time_steps", watched)
    found = results_of("compile_train", "--repetitions", "1")
    assert list(found["results"]) == ["as it is", "compiled"]
    assert steps == [(2, True, True), (2, True, False), (2, True, True), (2, True, False), (2, True, True)]
    assert len(graphs) > 0
