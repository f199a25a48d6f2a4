"""Signals during training."""

import os
import signal

import pytest

from decausal.tagging.interrupt import StopOnSignal


def test_a_repeated_sigterm_is_one_since_launcher_and_scheduler_both_send_it(capsys):
    interrupt = StopOnSignal()
    with interrupt.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.received == signal.SIGTERM
    assert capsys.readouterr().out.count("saving a checkpoint after this batch") == 1


def test_a_second_ctrl_c_ends_at_once():
    with StopOnSignal().listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopOnSignal().listening():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
