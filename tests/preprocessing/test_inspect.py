import os
import shutil

import pytest
from PIL import Image

from preprocessing import inspect, schema, task
from preprocessing.errors import UserError
from tests.preprocessing import pictures


@pytest.fixture(scope="module")
def whole_dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    pictures.write_class_folders(folder / "photos", num_per_class=20)
    assert task.main([str(folder / "photos"), str(folder / "dataset"), "--num_shards=2"]) == 0
    return folder / "dataset"


@pytest.fixture
def dataset(whole_dataset, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(whole_dataset, tmp_path / "dataset")


def test_a_whole_dataset_is_described(dataset, capsys):
    assert inspect.main([str(dataset)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "40 rows = 40 written + 0 quarantined + 0 dropped" in lines
    assert "images that two splits hold: 0" in lines
    assert lines[-1] == "every checksum and count is right"
    assert any(line.startswith("train: 2 shards") and "JPEG; 48x32 to 48x32 pixels" in line for line in lines)


def biggest_shard(dataset):
    return max(dataset.glob("train-*"), key=os.path.getsize)


def cut_at_a_record_boundary(path):
    data = path.read_bytes()
    path.write_bytes(data[: 12 + int.from_bytes(data[:8], "little") + 4])


def repeat_a_record(path):
    data = path.read_bytes()
    path.write_bytes(data + data[: 12 + int.from_bytes(data[:8], "little") + 4])


def change_a_byte(position):
    def change(path):
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)

    return change


DAMAGES = {
    "cut at a record boundary": cut_at_a_record_boundary,
    "cut inside a header": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 5),
    "cut inside a record": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "empty": lambda path: path.write_bytes(b""),
    "a bit in the content": change_a_byte(500),
    "a bit in a length": change_a_byte(1),
    "zeros": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "a text file": lambda path: path.write_text("hello" * 100),
    "another shard": lambda path: shutil.copy(next(path.parent.glob("validation-*")), path),
    "a record twice": repeat_a_record,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(dataset, damage, capsys):
    path = biggest_shard(dataset)
    DAMAGES[damage](path)
    with pytest.raises(UserError, match="is damaged"):
        inspect.main([str(dataset)])
    assert path.name in capsys.readouterr().err


def test_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(UserError, match=r"no dataset\.json"):
        inspect.main([str(tmp_path)])


def test_a_damaged_dataset_file(dataset):
    path = dataset / schema.DATASET_INFO_FILE
    path.write_text(path.read_text().replace('"crc32c": "', '"crc32c": "f', 1))
    with pytest.raises(UserError, match=r"dataset\.json: damaged"):
        inspect.main([str(dataset)])


def test_a_dataset_file_that_is_no_text(dataset):
    (dataset / schema.DATASET_INFO_FILE).write_bytes(b'{"class_names": ["k\xe4tzchen"]}')
    with pytest.raises(UserError, match=r"dataset\.json: damaged \(.*can't decode"):
        inspect.main([str(dataset)])


def test_a_contact_sheet_is_drawn(dataset, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert inspect.main([str(dataset), "--show=9", f"--show_file={sheet}"]) == 0
    image = Image.open(sheet)
    assert image.size[0] == 3 * 140
    assert len(image.getcolors(1 << 24)) > 1_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--show=-1"], "--show"),
        (["--show=4", "--split=tset"], "splits in this dataset"),
        (["--show=4", "--show_file=sheet.txt"], r"sheet\.txt: unknown kind of picture; end its name in \.png"),
        (["--show=4", "--show_file=/nowhere/sheet.png"], "there is no folder /nowhere"),
    ],
)
def test_mistakes_in_the_flags_are_told_before_the_work(dataset, flags, message, capsys):
    capsys.readouterr()
    with pytest.raises(UserError, match=message):
        inspect.main([str(dataset), *flags])
    assert capsys.readouterr().out == ""
