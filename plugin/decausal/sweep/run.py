"""One trial: the ordinary launch of a recipe, watched until it ends."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from decausal._errors import CheckpointError
from decausal.sweep.outcome import Outcome, Setting, curve_of
from decausal.sweep.space import name_setting
from decausal.tagging.arguments import as_flags
from decausal.tagging.outputs import holding as holding_directory
from decausal.tagging.results import RESULTS

_POLL_SECONDS = 0.5
_LINES_OF_A_FAILURE = 5

Evaluations = list[dict[str, float]]


class RunFailedError(RuntimeError):
    """A run ended with an error."""


@dataclass(frozen=True)
class Runner:
    """Runs a recipe with other fields.

    Attributes:
        recipe: the YAML.
        overrides: `--field value ...` for every run.
        launch: a file of `accelerate config`, or None.
        directory: where every run gets a directory `trials/SETTING` and a file `logs/SETTING.log`.
    """

    recipe: Path
    overrides: tuple[str, ...]
    launch: Path | None
    directory: Path

    def output_of(self, setting: Setting) -> Path:
        """The output directory of a run."""
        return self.directory / "trials" / name_setting(setting)

    def log_of(self, setting: Setting) -> Path:
        """What a run has printed."""
        return self.directory / "logs" / f"{name_setting(setting)}.log"

    def run(self, setting: Setting, watch: Callable[[Evaluations], None] = lambda _: None) -> Outcome:
        """Run a setting, go on with it where it was stopped, or read it where it is finished.

        Whoever else runs the same setting in the same directory is waited for. Checkpoints of a finished run are
        deleted; its tagger, scores and predictions stay.

        Args:
            setting: the fields in which the run differs.
            watch: is given the evaluations so far, now and then; what it raises stops the run, which then saves a
                checkpoint.

        Raises:
            RunFailedError: the run ended with an error, which it holds.
        """
        output = self.output_of(setting)
        self.log_of(setting).parent.mkdir(parents=True, exist_ok=True)
        with holding(Path(f"{output}.lock"), lambda: watch([])) as lock:
            while _is_at_work(output):  # a training whose launcher was killed
                watch([])
                time.sleep(_POLL_SECONDS)
            if not (output / RESULTS).is_file():
                self._launch(setting, lock, watch)
            outcome = Outcome.read(output, setting)
        self.drop_checkpoints(setting)
        return outcome

    def drop_checkpoints(self, setting: Setting) -> None:
        """Delete those of a run that will not go on."""
        for checkpoint in self.output_of(setting).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            (checkpoint / TRAINER_STATE_NAME).unlink(missing_ok=True)  # first: what is half deleted is not whole
            shutil.rmtree(checkpoint, ignore_errors=True)

    def command(self, setting: Setting) -> list[str]:
        """What is run, as `decausal train`."""
        launch = ["--launch", str(self.launch)] if self.launch else []
        quiet = ["--disable_tqdm", "true"]  # bars are nothing for a file
        fields = {
            **setting,
            "output_dir": self.output_of(setting),
            "resume_from_checkpoint": "auto",
            "overwrite_output_dir": "true",  # what was killed before its first checkpoint is in nobody's way
        }
        train = [sys.executable, "-m", "decausal", "train", str(self.recipe)]
        return [*train, *launch, *quiet, *self.overrides, *as_flags(fields)]

    def _launch(self, setting: Setting, lock: int, watch: Callable[[Evaluations], None]) -> None:
        output = self.output_of(setting)
        launch(self.command(setting), self.log_of(setting), lock, output / RESULTS, lambda: watch(_evaluations(output)))


def launch(
    command: Sequence[str],
    log: Path,
    lock: int,
    made: Path,
    watch: Callable[[], None] = lambda: None,
    *,
    to_all: bool = False,
) -> None:
    """Run a command to its end; where this is interrupted, ask it to save and stop, and wait for that.

    Args:
        command: what is run.
        log: all that it prints is appended here.
        lock: as `holding` gives it; the command holds it too, so that nobody starts the same beside it where only this
            process is killed.
        made: a file that the command makes in the end.
        watch: is called now and then; what it raises stops the command.
        to_all: ask what the command has started, too, and wait for that: for launchers that do not pass it on.

    Raises:
        RunFailedError: the command failed, or has not made the file; says what it printed last.
    """
    with log.open("ab") as file:
        # A session of its own: Ctrl-C comes here alone, and is passed on as a wish to save and stop.
        process = subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[lock]
        )
        try:
            while (status := _poll(process)) is None:
                watch()
        except BaseException:
            _stop(process, to_all=to_all)
            raise
    if status != 0 or not made.is_file():
        raise RunFailedError(_describe_failure(log, status))


def _poll(process: "subprocess.Popen[bytes]") -> int | None:
    try:
        return process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _stop(process: "subprocess.Popen[bytes]", *, to_all: bool) -> None:
    """Asks a run to save and stop; kills it, and all that it has started, where that is interrupted."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for child in psutil.Process(process.pid).children() if to_all and started else ():
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait()
        if to_all:
            psutil.wait_procs(started)
    except BaseException:
        for child in [*started, process]:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        raise


@contextmanager
def holding(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Holds a lock, as a file descriptor that child processes may share; calls `waiting` while another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(_POLL_SECONDS)
        yield file.fileno()


def _is_at_work(output: Path) -> bool:
    """Whether a training holds its output directory: see `decausal.tagging.outputs.holding`."""
    try:
        with holding_directory(output):
            return False
    except CheckpointError:
        return True


def _evaluations(output: Path) -> Evaluations:
    """The evaluations that the newest whole checkpoint knows of."""
    found: Evaluations = []
    for path in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINER_STATE_NAME}"):
        try:
            curve = curve_of(json.loads(path.read_text(encoding="utf-8"))["log_history"])
        except (OSError, ValueError):  # being written, or just deleted
            continue
        found = max(found, curve, key=len)
    return found


def _describe_failure(log: Path, status: int) -> str:
    """The last lines that a run printed, from its error on."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    told = errors[-1:] or lines[-_LINES_OF_A_FAILURE:] or ["it printed nothing"]
    return f"exit status {status}: " + "\n".join(told)
