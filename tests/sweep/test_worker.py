"""The loop of a worker, with what stands in for runs."""

import time
from collections import Counter
from itertools import chain
from multiprocessing import get_context

import pytest
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

import decausal.sweep.worker
from decausal.sweep.space import Space, name_setting
from decausal.sweep.storage import open_study
from decausal.sweep.trials import (
    SETTING,
    SURPLUS,
    WORKER,
    failures_of,
    kind_of,
    outcomes_of,
    queue,
    trials_of,
)
from decausal.sweep.worker import Worker
from sweep_parts import Runs, refuse

# Here trials are taken without Study.optimize, which is what gives signs of life.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used:UserWarning")

SPACE = Space(("00", "01", "11"), (1, 2))


def names(settings):
    return [name_setting(setting) for setting in settings]


def kinds(study):
    return Counter(kind_of(trial) for trial in trials_of(study))


def test_every_setting_is_run_once(study, make_runs):
    runs = make_runs(f1=lambda setting: 60.0 + setting["seed"])
    Worker(study, SPACE, runs, "here").work()
    assert names(runs.begun) == names(SPACE.settings())
    assert [outcome.setting for outcome in outcomes_of(study)] == SPACE.settings()
    assert [trial.value for trial in trials_of(study)] == [61.0, 61.0, 61.0, 62.0, 62.0, 62.0]


def test_a_finished_sweep_runs_nothing_again(study, make_runs):
    Worker(study, SPACE, make_runs(), "here").work()
    runs = make_runs()
    Worker(study, SPACE, runs, "here").work()
    assert runs.begun == []


def test_a_sweep_with_more_seeds_runs_only_those(study, make_runs):
    Worker(study, SPACE, make_runs(), "here").work()
    runs = make_runs()
    Worker(study, Space(("00", "01", "11"), (2, 3)), runs, "here").work()
    assert names(runs.begun) == ["unmask=00,seed=3", "unmask=01,seed=3", "unmask=11,seed=3"]


def test_a_failed_run_ends_neither_the_sweep_nor_its_trial_silently(study, make_runs):
    runs = make_runs(f1=lambda setting: refuse(setting) if setting["unmask"] == "01" else 50.0)
    Worker(study, SPACE, runs, "here").work()
    assert len(runs.begun) == 6
    assert [(failure.setting["unmask"], failure.error, failure.log) for failure in failures_of(study)] == [
        ("01", "exit status 1: error: no 01", "logs/01.log"),
        ("01", "exit status 1: error: no 01", "logs/01.log"),
    ]


def test_failed_runs_are_run_again_when_that_is_asked_for(study, make_runs):
    Worker(study, SPACE, make_runs(f1=refuse), "here").work()
    runs = make_runs()
    Worker(study, SPACE, runs, "here").work()
    assert runs.begun == []
    Worker(study, SPACE, runs, "here").work(retry_failed=True)
    assert len(runs.begun) == 6
    assert failures_of(study) == []


def test_a_run_that_fails_again_is_not_run_for_ever(study, make_runs):
    runs = make_runs(f1=refuse)
    Worker(study, SPACE, runs, "here").work(retry_failed=True)
    assert len(runs.begun) == 6


def test_a_run_that_is_stopped_is_said_to_save_even_where_nobody_listens(study, make_runs):
    def say(text):
        said.append(text)
        raise BrokenPipeError

    said = []
    runs = make_runs(f1=lambda setting: setattr(worker, "stopping", True) or 50.0)
    worker = Worker(study, SPACE, runs, "here", say=say)
    worker.work()
    assert said == ["stopping; the run saves a checkpoint first, for which a second Ctrl-C does not wait"]
    assert kinds(study) == {"interrupted": 1, "waiting": 5}


def test_a_run_that_is_stopped_is_taken_up_again(study, make_runs):
    runs = make_runs()
    worker = Worker(study, SPACE, runs, "here")
    runs.f1 = lambda setting: setattr(worker, "stopping", True) or 50.0
    worker.work()
    assert names(runs.begun) == ["unmask=00,seed=1"]
    assert kinds(study) == {"interrupted": 1, "waiting": 5}
    runs = make_runs()
    Worker(study, SPACE, runs, "here").work()
    assert Counter(names(runs.begun)) == Counter(names(SPACE.settings()))
    assert failures_of(study) == []


def test_what_two_workers_have_queued_at_once_is_run_once(study, make_runs):
    for setting in [*SPACE.settings(), *SPACE.settings()]:
        study.enqueue_trial(SPACE.parameters(setting), user_attrs={SETTING: setting})
    runs = make_runs()
    Worker(study, SPACE, runs, "here").work()
    assert Counter(names(runs.begun)) == Counter(names(SPACE.settings()))
    assert kinds(study) == {"done": 6, "surplus": 6}
    assert len(outcomes_of(study)) == 6


def test_the_run_of_a_worker_that_died_is_taken_up_again(study, make_runs):
    space = Space(("00",), (1,))
    queue(study, space, space.settings())
    study.tell(study.ask(), state=TrialState.FAIL)  # as fail_stale_trials does
    assert kinds(study) == {"died": 1}
    runs = make_runs()
    Worker(study, space, runs, "here").work()
    assert names(runs.begun) == ["unmask=00,seed=1"]


def test_a_run_that_kills_three_workers_is_given_up(study, make_runs):
    space = Space(("00",), (1,))
    for _ in range(3):
        queue(study, space, space.settings())
        trial = study.ask()
        trial.set_user_attr(WORKER, "there:1")
        study.tell(trial, state=TrialState.FAIL)
    runs = make_runs()
    Worker(study, space, runs, "here").work()
    assert runs.begun == []
    [failure] = failures_of(study)
    assert failure.error == "3 workers died while they ran it, the last one there:1"


def test_a_sampler_draws_as_many_settings_as_are_wanted(storage, make_runs):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    space = Space(tuple(f"{number:04b}" for number in range(16)), (7,))
    runs = make_runs(f1=lambda setting: 10.0 * setting["unmask"].count("1"))
    Worker(study, space, runs, "here", num_trials=6).work()
    assert len({*names(runs.begun)}) == len(runs.begun) == 6
    assert {setting["seed"] for setting in runs.begun} == {7}


def test_a_sampler_that_has_drawn_all_settings_ends(storage, make_runs):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    space = Space(("0", "1"), (7,))
    runs = make_runs()
    Worker(study, space, runs, "here", num_trials=6).work()
    assert sorted(names(runs.begun)) == ["unmask=0,seed=7", "unmask=1,seed=7"]


def test_a_setting_that_is_drawn_again_has_the_value_it_had(storage, make_runs):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    space = Space(("0", "1"), (7,))
    Worker(study, space, make_runs(f1=lambda setting: 60.0 + int(setting["unmask"])), "here", num_trials=6).work()
    again = [trial for trial in trials_of(study) if SURPLUS in trial.user_attrs]
    assert {trial.value - int(trial.user_attrs[SETTING]["unmask"]) for trial in again} == {60.0}


def test_a_run_that_lies_behind_is_stopped_early_and_leaves_no_checkpoint(storage, make_runs):
    study = open_study(storage, "pruned", pruner=MedianPruner(n_startup_trials=2, n_warmup_steps=0))
    space = Space(("00", "01", "11"), (1,))
    runs = make_runs(curves=lambda setting: [10.0, 20.0] if setting["unmask"] == "11" else [50.0, 60.0])
    Worker(study, space, runs, "here").work()
    assert kinds(study) == {"done": 2, "pruned": 1}
    assert names(runs.dropped) == ["unmask=11,seed=1"]
    assert trials_of(study)[-1].intermediate_values == {1: 10.0}
    again = make_runs()
    Worker(study, space, again, "here").work()
    assert again.begun == []


def test_a_sampler_draws_no_pattern_that_is_not_given(storage, make_runs):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    runs = make_runs()
    Worker(study, Space(("0011", "1111"), (7,), draws=True), runs, "here", num_trials=2).work()
    assert sorted(names(runs.begun)) == ["unmask=0011,seed=7", "unmask=1111,seed=7"]


def test_what_optuna_makes_up_where_the_last_trial_was_taken_is_not_run(study, make_runs, monkeypatch):
    worker = Worker(study, SPACE, make_runs(), "here")
    seen = [[waiting(study)]]
    monkeypatch.setattr(decausal.sweep.worker, "trials_of", lambda _: seen.pop() if seen else [])
    assert worker._take() is None
    assert kinds(study) == {}
    assert study.trials[0].state == TrialState.FAIL


def waiting(study):
    """A trial that is queued no more, as it looked before."""
    return create_trial(state=TrialState.WAITING, user_attrs={SETTING: {}})


@pytest.mark.parametrize("error", [ValueError("a tag is none"), OSError("no such file"), KeyError("num_layers")])
def test_what_a_run_has_left_and_nobody_can_read_is_a_failure(study, make_runs, error):
    def fail(setting):
        raise error

    runs = make_runs(f1=fail)
    Worker(study, Space(("00",), (1,)), runs, "here").work()
    assert [failure.error for failure in failures_of(study)] == [f"{type(error).__name__}: {error}"]
    assert len(runs.begun) == 1


def test_a_run_that_was_given_up_is_run_again_when_that_is_asked_for(study, make_runs):
    space = Space(("00",), (1,))
    for _ in range(3):
        queue(study, space, space.settings())
        study.tell(study.ask(), state=TrialState.FAIL)
    runs = make_runs()
    Worker(study, space, runs, "here").work(retry_failed=True)
    assert len(runs.begun) == 1
    assert failures_of(study) == []


def test_a_worker_that_was_taken_for_dead_while_it_ended_counts_nothing(study, make_runs):
    def take_away(setting):
        [running] = study.get_trials(states=[TrialState.RUNNING])
        study.tell(running.number, state=TrialState.FAIL)
        runs.f1 = lambda setting: 60.0
        return 50.0

    runs = make_runs(f1=take_away)
    Worker(study, Space(("00",), (1,)), runs, "here").work()
    assert kinds(study) == {"died": 1, "done": 1}
    assert [outcome.scores["validation"]["f1"] for outcome in outcomes_of(study)] == [60.0]


def test_a_worker_that_was_taken_for_dead_stops_when_it_is_asked_to(study, make_runs):
    def take_away(setting):
        [running] = study.get_trials(states=[TrialState.RUNNING])
        study.tell(running.number, state=TrialState.FAIL)
        worker.stopping = True
        return 50.0

    runs = make_runs(f1=take_away)
    worker = Worker(study, SPACE, runs, "here")
    worker.work()
    assert len(runs.begun) == 1


def test_a_database_that_is_away_for_a_while_ends_no_run(study, make_runs, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    record, away = study._storage.record_heartbeat, [True, True]

    def record_or_fail(trial_id):
        if away and away.pop():
            raise StorageInternalError("away")
        record(trial_id)

    monkeypatch.setattr(study._storage, "record_heartbeat", record_or_fail)
    runs = make_runs()
    Worker(study, Space(("00",), (1,)), runs, "here").work()
    assert away == []
    assert len(outcomes_of(study)) == 1


def test_workers_on_one_sqlite_file_take_every_trial_once(storage, tmp_path):
    settings = Space(tuple(f"{number:04b}" for number in range(16)), (1,))
    open_study(storage, "small")
    with get_context("spawn").Pool(2) as pool:
        begun = pool.starmap(work_alone, [(storage, tmp_path, settings)] * 2)
    assert Counter(chain.from_iterable(begun)) == Counter(names(settings.settings()))


def work_alone(storage, directory, space):
    """The settings that a worker in a process of its own has run."""
    runs = Runs(directory)
    Worker(open_study(storage, "small"), space, runs, "one of two").work()
    return names(runs.begun)


@pytest.fixture
def impatient(study):
    """The study, in which a second without a sign of life is death."""
    study._storage._backend.grace_period = 1
    return study


def test_a_worker_without_signs_of_life_loses_its_trial(impatient, make_runs):
    queue(impatient, SPACE, SPACE.settings())
    Worker(impatient, SPACE, make_runs(), "there")._take()
    time.sleep(3)
    Worker(impatient, SPACE, make_runs(), "here")._give_up_dead()
    assert kinds(impatient) == {"died": 1, "waiting": 2 + 3}


def test_a_worker_that_works_keeps_its_trial(impatient, make_runs):
    queue(impatient, SPACE, SPACE.settings())
    there = Worker(impatient, SPACE, make_runs(), "there")
    trial, _ = there._take()
    time.sleep(3)
    there._beat(trial)
    Worker(impatient, SPACE, make_runs(), "here")._give_up_dead()
    assert kinds(impatient) == {"running": 1, "waiting": 2 + 3}


def test_a_run_gives_signs_of_life(study, make_runs, monkeypatch):
    beats = []
    monkeypatch.setattr(study._storage, "record_heartbeat", beats.append)
    monkeypatch.setattr(study._storage, "get_heartbeat_interval", lambda: 0)
    Worker(study, Space(("00",), (1,)), make_runs(curves=lambda setting: [1.0, 2.0]), "here").work()
    assert len(beats) == 1 + 3 + 1  # claimed, watched with none, one and two evaluations, ended


def test_a_worker_that_died_before_its_first_sign_of_life_loses_its_trial(study, make_runs, monkeypatch):
    queue(study, SPACE, SPACE.settings())
    study.ask()
    here = Worker(study, SPACE, make_runs(), "here")
    here._give_up_dead()
    assert kinds(study) == {"running": 1, "waiting": 5}
    begun = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: begun + 60)
    here._give_up_dead()
    assert kinds(study) == {"died": 1, "waiting": 5}
