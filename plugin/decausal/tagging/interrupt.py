"""Ctrl-C and SIGTERM during training: finish the step, save a checkpoint, stop; all processes after the same step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl


class StopOnSignal(TrainerCallback):
    """Turns the first Ctrl-C or SIGTERM into a saved checkpoint; a second Ctrl-C ends the process at once.

    Attributes:
        received: the signal that came to this process, None if none did.
        stopping: the signal that ends the training of all processes, from the end of a step on.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.stopping: signal.Signals | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are ours in this block, and whose they were before afterwards."""
        previous = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> TrainerControl:
        """Save and stop if a signal came to any process before the last step."""
        received = self._received_anywhere(args.device)
        if received and state.global_step < state.max_steps:
            self.stopping = received
            control.should_save = True
            control.should_training_stop = True
            # The trainer ends every training by deleting all but the best checkpoint; this one is to be resumed.
            args.save_total_limit = None
            args.load_best_model_at_end = False
        return control

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> TrainerControl:
        """Stopped in the middle of an epoch, the trainer calls this too: nothing more to score or save."""
        if self.stopping:
            control.should_evaluate = False
            control.should_save = False
        return control

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
            print("\nSIGINT: saving a checkpoint after this step; once more ends at once.", flush=True)
        elif not again:  # a scheduler tells both launcher and run, and the launcher tells the run: once is meant
            print("\nSIGTERM: saving a checkpoint after this step.", flush=True)
