"""Which trials there are in a study, and where it is kept."""

import time

import optuna
import pytest
from typer.testing import CliRunner

from decausal.cli.app import app
from decausal.sweep.space import Space
from decausal.sweep.storage import open_study
from decausal.sweep.trials import SETTING, WORKER, Failure, failures_of, kind_of, queue, trials_of, twin_of
from decausal.sweep.worker import Worker

# Here trials are taken without Study.optimize, which is what gives signs of life.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used:UserWarning")

SPACE = Space(("00", "01", "11"), (1,))


def kinds(study):
    return [kind_of(trial) for trial in trials_of(study)]


def test_what_is_queued_is_not_queued_again(study):
    queue(study, SPACE, SPACE.settings())
    queue(study, SPACE, SPACE.settings())
    assert [trial.user_attrs[SETTING]["unmask"] for trial in trials_of(study)] == ["00", "01", "11"]


def test_the_earlier_of_two_trials_is_the_twin(study):
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={SETTING: SPACE.settings()[0]})
    first, second = trials_of(study)
    assert twin_of(study, second.number, SPACE.settings()[0]).number == first.number
    assert twin_of(study, first.number, SPACE.settings()[0]) is None
    assert twin_of(study, second.number, SPACE.settings()[1]) is None


def test_a_study_is_the_same_for_whoever_opens_it(storage):
    one, other = open_study(storage, "shared"), open_study(storage, "shared")
    queue(one, SPACE, SPACE.settings())
    assert kinds(other) == ["waiting"] * 3


def test_a_missing_study_names_those_that_are_there(storage):
    open_study(storage, "ner")
    with pytest.raises(ValueError, match=r"study='chunks': .* has no such study; it has ner"):
        open_study(storage, "chunks", create=False)


def test_a_moved_sweep_is_reported_under_its_own_name(tmp_path, make_runs):
    (tmp_path / "ner").mkdir()
    Worker(open_study(f"sqlite:///{tmp_path}/ner/study.db", "ner"), SPACE, make_runs(), "here").work()
    moved = (tmp_path / "ner").rename(tmp_path / "moved")
    done = CliRunner().invoke(app, ["report", str(moved)])
    assert (done.exit_code, done.stdout) == (0, f"{moved / 'report' / 'report.html'}\n")
    open_study(f"sqlite:///{moved}/study.db", "chunks")
    with pytest.raises(ValueError, match=r"study='moved': .* it has ner, chunks"):
        CliRunner().invoke(app, ["report", str(moved)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study.db", "Could not parse"),
        ("oracles://here/x", "Can't load plugin"),
        ("sqlite:////there/is/no/such/directory/study.db", "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_message(url, message, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(ValueError, match=message):
        open_study(url, "ner")


def test_no_message_tells_a_password(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(ValueError, match="cannot be used") as refusal:
        open_study("postgresql+psycopg://me:secret@127.0.0.1:1/there", "ner")
    assert "secret" not in str(refusal.value)
    assert "me:***@127.0.0.1" in str(refusal.value)


def test_no_failure_is_told_where_nothing_failed(study, make_runs):
    Worker(study, SPACE, make_runs(), "here").work()
    assert failures_of(study) == []


def test_a_failure_tells_what_and_where(study):
    trial = study.ask()
    trial.set_user_attr(SETTING, SPACE.settings()[0])
    trial.set_user_attr("error", "exit status 1")
    trial.set_user_attr("log", "logs/00.log")
    trial.set_user_attr(WORKER, "here:1")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert failures_of(study) == [Failure({"unmask": "00", "seed": 1}, "exit status 1", "logs/00.log")]
