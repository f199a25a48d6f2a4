"""The loop of a worker, with what stands in for runs."""

from collections import Counter

import pytest
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from decausal.sweep.space import Space, name_setting
from decausal.sweep.study import (
    SETTING,
    SURPLUS,
    WORKER,
    failures_of,
    kind_of,
    open_study,
    outcomes_of,
    queue,
    trials_of,
)
from decausal.sweep.sweep import Sweep, run_sweep
from sweep_parts import Runs, refuse

# Here trials are taken without Study.optimize, which is what gives signs of life.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used:UserWarning")

SPACE = Space(("00", "01", "11"), (1, 2))


def names(settings):
    return [name_setting(setting) for setting in settings]


def kinds(study):
    return Counter(kind_of(trial) for trial in trials_of(study))


def test_every_setting_is_run_once(study):
    runs = Runs(f1=lambda setting: 60.0 + setting["seed"])
    Sweep(study, SPACE, runs).work()
    assert names(runs.begun) == names(SPACE.settings())
    assert [outcome.setting for outcome in outcomes_of(study)] == SPACE.settings()
    assert [trial.value for trial in trials_of(study)] == [61.0, 61.0, 61.0, 62.0, 62.0, 62.0]


def test_a_finished_sweep_runs_nothing_again(study):
    Sweep(study, SPACE, Runs()).work()
    runs = Runs()
    Sweep(study, SPACE, runs).work()
    assert runs.begun == []


def test_a_sweep_with_more_seeds_runs_only_those(study):
    Sweep(study, SPACE, Runs()).work()
    runs = Runs()
    Sweep(study, Space(("00", "01", "11"), (2, 3)), runs).work()
    assert names(runs.begun) == ["unmask=00,seed=3", "unmask=01,seed=3", "unmask=11,seed=3"]


def test_a_failed_run_ends_neither_the_sweep_nor_its_trial_silently(study):
    runs = Runs(f1=lambda setting: refuse(setting) if setting["unmask"] == "01" else 50.0)
    Sweep(study, SPACE, runs).work()
    assert len(runs.begun) == 6
    assert [(failure.setting["unmask"], failure.error, failure.log) for failure in failures_of(study)] == [
        ("01", "exit status 1: error: no 01", "logs/01.log"),
        ("01", "exit status 1: error: no 01", "logs/01.log"),
    ]


def test_failed_runs_are_run_again_when_that_is_asked_for(study):
    Sweep(study, SPACE, Runs(f1=refuse)).work()
    runs = Runs()
    Sweep(study, SPACE, runs).work()
    assert runs.begun == []
    Sweep(study, SPACE, runs).work(retry_failed=True)
    assert len(runs.begun) == 6
    assert failures_of(study) == []


def test_a_run_that_fails_again_is_not_run_for_ever(study):
    runs = Runs(f1=refuse)
    Sweep(study, SPACE, runs).work(retry_failed=True)
    assert len(runs.begun) == 6


def test_an_interrupted_run_is_taken_up_again(study):
    def interrupt(setting):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweep(study, SPACE, Runs(f1=interrupt)).work()
    assert kinds(study) == {"interrupted": 1, "waiting": 5}
    runs = Runs()
    Sweep(study, SPACE, runs).work()
    assert Counter(names(runs.begun)) == Counter(names(SPACE.settings()))
    assert failures_of(study) == []


def test_what_two_workers_have_queued_at_once_is_run_once(study):
    for setting in [*SPACE.settings(), *SPACE.settings()]:
        study.enqueue_trial(SPACE.parameters(setting), user_attrs={SETTING: setting})
    runs = Runs()
    Sweep(study, SPACE, runs).work()
    assert Counter(names(runs.begun)) == Counter(names(SPACE.settings()))
    assert kinds(study) == {"done": 6, "surplus": 6}
    assert len(outcomes_of(study)) == 6


def test_the_run_of_a_worker_that_died_is_taken_up_again(study):
    space = Space(("00",), (1,))
    queue(study, space, space.settings())
    study.tell(study.ask(), state=TrialState.FAIL)  # as fail_stale_trials does
    assert kinds(study) == {"died": 1}
    runs = Runs()
    Sweep(study, space, runs).work()
    assert names(runs.begun) == ["unmask=00,seed=1"]


def test_a_run_that_kills_three_workers_is_given_up(study):
    space = Space(("00",), (1,))
    for _ in range(3):
        queue(study, space, space.settings())
        trial = study.ask()
        trial.set_user_attr(WORKER, "there:1")
        study.tell(trial, state=TrialState.FAIL)
    runs = Runs()
    Sweep(study, space, runs).work()
    assert runs.begun == []
    [failure] = failures_of(study)
    assert failure.error == "3 workers died while they ran it, the last one there:1"


def test_a_sampler_draws_as_many_settings_as_are_wanted(storage):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    space = Space(tuple(f"{number:04b}" for number in range(16)), (7,))
    runs = Runs(f1=lambda setting: 10.0 * setting["unmask"].count("1"))
    Sweep(study, space, runs, num_trials=6).work()
    assert len({*names(runs.begun)}) == len(runs.begun) == 6
    assert {setting["seed"] for setting in runs.begun} == {7}


def test_a_sampler_that_has_drawn_all_settings_ends(storage):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    space = Space(("0", "1"), (7,))
    runs = Runs()
    Sweep(study, space, runs, num_trials=6).work()
    assert sorted(names(runs.begun)) == ["unmask=0,seed=7", "unmask=1,seed=7"]


def test_a_setting_that_is_drawn_again_has_the_value_it_had(storage):
    study = open_study(storage, "drawn", sampler=TPESampler(seed=1))
    space = Space(("0", "1"), (7,))
    Sweep(study, space, Runs(f1=lambda setting: 60.0 + int(setting["unmask"])), num_trials=6).work()
    again = [trial for trial in trials_of(study) if SURPLUS in trial.user_attrs]
    assert {(trial.user_attrs[SETTING]["unmask"], trial.value) for trial in again} <= {("0", 60.0), ("1", 61.0)}


def test_a_run_that_lies_behind_is_stopped_early_and_leaves_no_checkpoint(storage):
    study = open_study(storage, "pruned", pruner=MedianPruner(n_startup_trials=2, n_warmup_steps=0))
    space = Space(("00", "01", "11"), (1,))
    runs = Runs(curves=lambda setting: [10.0, 20.0] if setting["unmask"] == "11" else [50.0, 60.0])
    Sweep(study, space, runs).work()
    assert kinds(study) == {"done": 2, "pruned": 1}
    assert names(runs.dropped) == ["unmask=11,seed=1"]
    assert trials_of(study)[-1].intermediate_values == {1: 10.0}
    again = Runs()
    Sweep(study, space, again).work()
    assert again.begun == []


def test_trials_are_for_the_sampler_that_draws():
    with pytest.raises(ValueError, match="sampler=grid, trials=3: trials says how many runs tpe chooses"):
        run_sweep(["recipe.yaml"], patterns="groups:4", num_trials=3)
    with pytest.raises(ValueError, match="sampler=tpe, trials=None"):
        run_sweep(["recipe.yaml"], patterns="groups:4", sampler="tpe")
