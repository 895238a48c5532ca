import pytest

from preprocessing import rows
from preprocessing.errors import UserError


def test_labels_keep_their_order(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("zebra\n\n  ant \r\n")
    assert rows.read_labels(str(path)) == ("zebra", "ant")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no class name"), (b"ant\nbee\nant\n", "'ant' twice"), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_files_that_are_no_list_of_labels(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows.read_labels(str(path))
