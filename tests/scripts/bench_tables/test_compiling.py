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


def test_the_compiled_model_trains_and_tags_and_is_itself_again(results_of, graphs, monkeypatch):
    models = []
    compiled = compiling.compiled
    monkeypatch.setattr(
        compiling, "compiled", lambda model, *arguments: models.append(model) or compiled(model, *arguments)
    )
    found = results_of("compile", "--repetitions", "1")
    assert list(found["results"]) == ["train", "train, compiled", "tag", "tag, compiled"]
    assert found["results"]["tag"]["ratio"]["all"] == [1.0]
    seconds = found["seconds of the first and the second call"]
    assert list(seconds) == ["train, compiled", "tag, compiled"]
    assert [len(calls) for calls in seconds.values()] == [2, 2]
    assert len(graphs) >= len(models) == 2
    assert not any("forward" in vars(model) for model in models)
