"""Several real workers on one database, one of them killed."""

import gc
import os
import signal
import subprocess
import sys
from collections import Counter
from tempfile import TemporaryDirectory

import psutil
import pytest

from decausal.sweep.space import name_setting
from decausal.sweep.storage import open_study
from decausal.sweep.trials import LOG, SETTING, WORKER, kind_of, outcomes_of, trials_of
from waiting import wait_for

# Optuna leaves its connections to the garbage collector, of which psycopg warns.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def postgresql(monkeypatch, tmp_path):
    """The URL of a database of a server of its own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # where its locks are; it wants one when it is imported
    monkeypatch.setenv(
        "PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin"
    )  # root's server takes a user, whom useradd makes
    import pgserver

    # Not below pytest's directories: root's server is another user's, who may not enter them.
    with TemporaryDirectory() as directory:
        server = pgserver.get_server(directory, cleanup_mode="stop")
        yield server.get_uri()
        gc.collect()  # the connections, while the warning is ignored: elsewhere it would fail another test
        server.cleanup()


@pytest.fixture
def start_worker(recipe, tmp_path, postgresql):
    """Starts `decausal sweep` of four settings, as on a machine of its own: in a directory that no other has."""
    path = recipe(num_train_epochs=12)
    workers = []

    def start(name):
        log = (tmp_path / f"{name}.log").open("w")
        command = [
            sys.executable, "-m", "decausal", "sweep", path, "--patterns", "groups:2", "--seeds", "7",
            "--storage", postgresql, "--study", "small", "--heartbeat_seconds", "1",
            "--output_dir", str(tmp_path / name),
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        worker = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        kill_all_of(worker)


def kill_all_of(worker):
    """SIGKILL for a process and all that it has started: the machine is gone."""
    if worker.poll() is None:
        for process in [*psutil.Process(worker.pid).children(recursive=True), worker]:
            process.send_signal(signal.SIGKILL)
        worker.wait()


def test_the_run_of_a_killed_worker_is_taken_up_by_the_others_and_nothing_is_lost_or_counted_twice(
    start_worker, postgresql, tmp_path
):
    study = open_study(postgresql, "small")
    doomed = start_worker("doomed")
    wait_for(lambda: any(LOG in trial.user_attrs for trial in trials_of(study)))
    others = [start_worker("one"), start_worker("other")]
    wait_for(lambda: sum(is_at_work(trial) for trial in trials_of(study)) == 3)
    [lost] = [trial for trial in trials_of(study) if is_run_by(doomed, trial)]
    kill_all_of(doomed)
    assert [worker.wait(timeout=300) for worker in others] == [0, 0]
    kinds = Counter(kind_of(trial) for trial in trials_of(study))
    assert (kinds["done"], kinds["died"], kinds["failed"], kinds["running"]) == (4, 1, 0, 0)
    names = [name_setting(outcome.setting) for outcome in outcomes_of(study)]
    assert sorted(names) == [f"unmask={bits},seed=7" for bits in ("00", "01", "10", "11")]
    assert kind_of(study.trials[lost.number]) == "died"
    assert name_setting(lost.user_attrs[SETTING]) in names
    assert "unmask=11,seed=7: validation F1" in (tmp_path / "one.log").read_text()
    assert "unmask=11,seed=7: validation F1" in (tmp_path / "other.log").read_text()


def is_run_by(worker, trial):
    """Whether a worker is at that trial."""
    return is_at_work(trial) and trial.user_attrs[WORKER].endswith(f":{worker.pid}")


def is_at_work(trial):
    """Whether a worker has taken a trial and begun its run."""
    return kind_of(trial) == "running" and LOG in trial.user_attrs
