import pytest

from trainer.estimator.input_position import InputPosition


def test_a_call_that_ended_leaves_nothing_to_continue(tmp_path):
    position = InputPosition(str(tmp_path / "model"))
    assert position.begin(0) == 0
    position.end()
    assert position.begin(10) == 0


def test_an_interrupted_call_is_continued(tmp_path):
    InputPosition(str(tmp_path)).begin(10)
    assert InputPosition(str(tmp_path)).begin(16) == 6
    assert InputPosition(str(tmp_path)).begin(18) == 8


def test_a_call_may_turn_out_to_begin_elsewhere(tmp_path):
    position = InputPosition(str(tmp_path))
    position.begin(0)
    position.restart(20)
    assert InputPosition(str(tmp_path)).begin(25) == 5


def test_going_back_behind_the_interrupted_call_starts_the_data_over(tmp_path):
    InputPosition(str(tmp_path)).begin(10)
    assert InputPosition(str(tmp_path)).begin(4) == 0
    assert InputPosition(str(tmp_path)).begin(6) == 2


def test_of_several_processes_one_writes(tmp_path):
    one, other = InputPosition(str(tmp_path)), InputPosition(str(tmp_path), is_writer=False)
    assert (other.begin(3), list(tmp_path.iterdir())) == (0, [])
    assert (one.begin(3), other.begin(5)) == (0, 2)
    other.end()
    assert other.begin(5) == 2
    one.end()
    assert other.begin(5) == 0


@pytest.mark.parametrize("content", ["", "[]", '{"first_step": "x"}'])
def test_a_damaged_note_starts_the_data_over(tmp_path, content):
    (tmp_path / "input_position.json").write_text(content)
    assert InputPosition(str(tmp_path)).begin(4) == 0
