"""Ctrl-C and SIGTERM during training: finish the step, save a checkpoint, stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl


class StopOnSignal(TrainerCallback):
    """Turns the first Ctrl-C or SIGTERM into a saved checkpoint; a second one ends the process at once.

    Attributes:
        received: the signal that stopped the training, None if there was none.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

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
        """Save and stop if a signal came before the last step."""
        if self.received and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
            # The trainer ends every training by deleting all but the best checkpoint; this one is to be resumed.
            args.save_total_limit = None
            args.load_best_model_at_end = False
        return control

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> TrainerControl:
        """Stopped in the middle of an epoch, the trainer calls this too: nothing more to score or save."""
        if self.received and state.global_step < state.max_steps:
            control.should_evaluate = False
            control.should_save = False
        return control

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        print(f"\n{self.received.name}: saving a checkpoint after this step; once more ends at once.", flush=True)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
