import contextlib
import os

from trainer.commands.terminal import ProgressLine


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


def test_what_is_printed_after_the_end_of_the_line_has_a_line_of_its_own():
    def act(progress, stream):
        progress.show("step 1")
        progress.close()
        progress.show("step 2")  # as another thread may, before the message is printed
        stream.write("a message\n")
        stream.flush()

    assert shown(act) == ["", "step 1", "a message"]


def test_the_last_one_is_shown_in_any_case():
    def act(progress, stream):
        progress.show("step 1")
        progress.show("step 2")
        progress.show("step 3", is_last=True)
        progress.close()

    assert [line for line in shown(act) if line] == ["step 1", "step 3"]
