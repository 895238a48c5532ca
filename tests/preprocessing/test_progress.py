import io
import time

from preprocessing import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_counts_of_all_workers_add_up(tmp_path):
    first, second = progress.Reporter(str(tmp_path)), progress.Reporter(str(tmp_path))
    first.add(scanned=5)
    first.add(scanned=5, written=2)
    second.add(written=3)
    first.close()
    assert progress.read_counts(str(tmp_path)) == (10, 5)


def test_nobody_watching_costs_nothing():
    reporter = progress.Reporter("")
    reporter.add(scanned=1)
    reporter.close()


def test_a_terminal_sees_one_changing_line(tmp_path):
    progress.Reporter(str(tmp_path)).add(scanned=1_200)
    stream = Terminal()
    with progress.shown(str(tmp_path), stream):
        while "checked" not in stream.getvalue():  # a busy machine may take its time
            time.sleep(0.01)
    assert "checked 1,200 images" in stream.getvalue()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r")


def test_a_log_file_is_left_alone_by_a_short_job(tmp_path):
    stream = io.StringIO()
    with progress.shown(str(tmp_path), stream):
        pass
    assert stream.getvalue() == ""
