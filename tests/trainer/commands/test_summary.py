import json

import pytest

from trainer.commands import summary
from trainer.errors import UserError


def test_what_was_not_measured_is_said_and_null(tmp_path, capsys):
    path = tmp_path / "summary.json"
    values = {"images": 1234, "images_per_sec": None, "accuracy": 0.98765432, "output": ""}
    summary.show("trained", values, str(path))
    assert capsys.readouterr().out.splitlines() == [
        "",
        "trained",
        "  images          1,234",
        "  images per sec  not measured",
        "  accuracy        0.9877",
    ]
    assert json.loads(path.read_text()) == values


def test_a_full_disk_is_told():
    with pytest.raises(UserError, match="/dev/full: cannot be written"):
        summary.show("trained", {"images": 1}, "/dev/full")
