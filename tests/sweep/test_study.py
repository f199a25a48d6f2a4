"""What becomes of trials whose workers live or die."""

import time

import optuna
import pytest
from optuna.storages._heartbeat import get_heartbeat_thread

from decausal.sweep.space import Space
from decausal.sweep.study import (
    SETTING,
    WORKER,
    Failure,
    failures_of,
    give_up_dead,
    kind_of,
    open_study,
    outcomes_of,
    queue,
    trials_of,
    twin_of,
)
from decausal.sweep.sweep import Sweep
from sweep_parts import Runs

# Here trials are taken without Study.optimize, which is what gives signs of life.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used:UserWarning")

SPACE = Space(("00", "01", "11"), (1,))


def kinds(study):
    return [kind_of(trial) for trial in trials_of(study)]


def test_what_is_queued_is_not_queued_again(study):
    queue(study, SPACE, SPACE.settings())
    queue(study, SPACE, SPACE.settings())
    assert [trial.user_attrs[SETTING]["unmask"] for trial in trials_of(study)] == ["00", "01", "11"]


def test_a_worker_without_signs_of_life_loses_its_trial(study):
    queue(study, SPACE, SPACE.settings())
    trial = study.ask()
    with get_heartbeat_thread(trial._trial_id, study._storage):
        time.sleep(0.1)
    time.sleep(8)
    give_up_dead(study)
    assert kinds(study) == ["died", "waiting", "waiting"]


def test_a_worker_that_works_keeps_its_trial(study):
    queue(study, SPACE, SPACE.settings())
    trial = study.ask()
    with get_heartbeat_thread(trial._trial_id, study._storage):
        time.sleep(8)
        give_up_dead(study)
    assert kinds(study) == ["running", "waiting", "waiting"]


def test_a_worker_that_died_before_its_first_sign_of_life_loses_its_trial(study, monkeypatch):
    queue(study, SPACE, SPACE.settings())
    study.ask()
    give_up_dead(study)
    assert kinds(study)[0] == "running"
    monkeypatch.setattr("decausal.sweep.study.HEARTBEAT_SECONDS", 0)
    give_up_dead(study)
    assert kinds(study)[0] == "died"


def test_a_worker_that_was_taken_for_dead_does_not_count_its_trial_twice(study):
    def slowly(setting):
        give_up = study.get_trials(states=[optuna.trial.TrialState.RUNNING])[0]
        study.tell(give_up.number, state=optuna.trial.TrialState.FAIL)
        return 50.0

    space = Space(("00",), (1,))
    calls = []
    runs = Runs(f1=lambda setting: slowly(setting) if not calls and not calls.append(1) else 50.0)
    Sweep(study, space, runs).work()
    assert kinds(study) == ["died", "done"]
    assert len(outcomes_of(study)) == 1


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


def test_no_failure_is_told_where_nothing_failed(study):
    Sweep(study, SPACE, Runs()).work()
    assert failures_of(study) == []


def test_a_failure_tells_what_and_where(study):
    trial = study.ask()
    trial.set_user_attr(SETTING, SPACE.settings()[0])
    trial.set_user_attr("error", "exit status 1")
    trial.set_user_attr("log", "logs/00.log")
    trial.set_user_attr(WORKER, "here:1")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert failures_of(study) == [Failure({"unmask": "00", "seed": 1}, "exit status 1", "logs/00.log")]
