import contextlib
import logging
import os
import threading

from trainer.commands.terminal import MessagesApart, ProgressLine


def shown(act):
    terminal, its_end = os.openpty()
    with open(its_end, "w") as stream:
        act(ProgressLine(stream), stream)
    text = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
        while part := os.read(terminal, 4096):
            text += part
    os.close(terminal)
    return [line.strip() for line in text.decode().splitlines()]


def draw_meanwhile(progress):
    """Has another thread draw the line; returns the thread when it has drawn, or has waited for a while."""
    thread = threading.Thread(target=progress.show, args=("step 2",), kwargs={"is_last": True})
    thread.start()
    thread.join(timeout=0.2)
    return thread


def test_what_is_printed_has_a_line_of_its_own_whatever_another_thread_draws():
    def act(progress, stream):
        progress.show("step 1")
        with progress.set_aside():
            thread = draw_meanwhile(progress)
            stream.write("a message\n")
            stream.flush()
        thread.join()

    assert shown(act) == ["", "step 1", "a message", "", "step 2"]


def test_a_logged_message_has_a_line_of_its_own():
    def act(progress, stream):
        threads = []

        class Handler(logging.StreamHandler):
            def emit(self, record):
                threads.append(draw_meanwhile(progress))
                super().emit(record)

        logger = logging.Logger("messages")
        logger.addHandler(Handler(stream))
        progress.show("step 1")
        messages_apart = MessagesApart(progress, logger)
        logger.warning("a message")
        messages_apart.close()
        threads[0].join()

    assert shown(act) == ["", "step 1", "a message", "", "step 2"]


def test_the_last_one_is_shown_in_any_case():
    def act(progress, stream):
        progress.show("step 1")
        progress.show("step 2")
        progress.show("step 3", is_last=True)
        progress.close()

    assert [line for line in shown(act) if line] == ["step 1", "step 3"]
