import io
import logging
import signal
import sys

import pytest
import tensorflow as tf

from tests.trainer.estimator import programs
from trainer.estimator.interrupts import Interrupts


class SignalAmidAWrite(io.StringIO):
    """Where a signal comes while something is being written, once: as `logging` itself may be doing."""

    def write(self, text):
        if not self.getvalue():
            super().write(text[:2])
            signal.raise_signal(signal.SIGINT)
            text = text[2:]
        return super().write(text)


def test_a_signal_amid_the_writing_of_a_message_is_told_after_it():
    stream = SignalAmidAWrite()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("absl")
    logger.addHandler(handler)
    interrupts = Interrupts()
    try:
        with interrupts.watching():
            logger.warning("a message")
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == "a message\nSIGINT received: saving a checkpoint, then stopping\n"
    with pytest.raises(KeyboardInterrupt):
        interrupts.raise_pending()


def test_a_second_ctrl_c_stops_at_once():
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt), interrupts.watching():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        sys.exit("the second one was not heard")
    interrupts.raise_pending()  # none is: a program that goes on may evaluate


def test_the_handlers_of_before_are_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts().watching():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


class CtrlC(tf.compat.v1.train.SessionRunHook):
    def after_run(self, run_context, run_values):
        signal.raise_signal(signal.SIGINT)


def test_a_program_that_heard_ctrl_c_may_train_again(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        estimator.train(programs.input_fn, max_steps=6, hooks=[CtrlC()])
    assert estimator.get_variable_value("global_step") == 1
    estimator.train(programs.input_fn, max_steps=6)
    assert estimator.get_variable_value("global_step") == 6
