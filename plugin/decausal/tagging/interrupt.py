"""Ctrl-C and SIGTERM during training: finish the step, save a checkpoint, stop; all processes at the same place."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl


class ValidationStopped(Exception):  # noqa: N818 - no error
    """A signal came while a model in training was scored."""


class StopOnSignal(TrainerCallback):
    """Turns the first Ctrl-C or SIGTERM into a saved checkpoint; a second Ctrl-C ends the process at once.

    Attributes:
        received: the signal that came to this process, None if none did.
        stopping: the signal that ends the training of all processes, from the end of a step on.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.stopping: signal.Signals | None = None
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are ours in this block, and whose they were before afterwards."""
        previous = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        self._is_listening = True
        try:
            yield
        finally:
            self._is_listening = False
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> TrainerControl:
        """Save and stop if a signal came to any process before the last step."""
        if state.global_step < state.max_steps and self._begin_to_stop(args):
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_prediction_step(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        """Break a validation off, which may take longer than a scheduler waits.

        Raises:
            ValidationStopped: a signal came to any process.
        """
        if self._is_listening and self._begin_to_stop(args):
            raise ValidationStopped

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> TrainerControl:
        """Stopped in the middle of an epoch, the trainer calls this too: nothing more to score or save."""
        if self.stopping:
            control.should_evaluate = False
            control.should_save = False
        return control

    def _begin_to_stop(self, args: Any) -> bool:
        self.stopping = self._received_anywhere(args.device)
        if self.stopping:
            # The trainer ends every training by deleting all but the best checkpoint; this one is to be resumed.
            args.save_total_limit = None
            args.load_best_model_at_end = False
        return self.stopping is not None

    def _received_anywhere(self, device: torch.device) -> signal.Signals | None:
        """Processes save together, after the same step; else each would wait for the others for good."""
        if not torch.distributed.is_initialized():
            return self.received
        number = torch.tensor(self.received or 0, device=device)
        torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
        return signal.Signals(int(number)) if number else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            print("\nSIGINT: saving a checkpoint after this batch; once more ends at once.", flush=True)
        elif not again:  # a scheduler tells both launcher and run, and the launcher tells the run: once is meant
            print("\nSIGTERM: saving a checkpoint after this batch.", flush=True)
