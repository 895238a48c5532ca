"""Whole conversions on the real runner: what goes in, what comes out, and what never happens."""

import csv
import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from preprocessing import schema
from preprocessing.errors import UserError
from preprocessing.options import FORMATS
from preprocessing.quarantine import Reason
from tests.preprocessing import pictures


def test_every_image_of_a_folder_is_in_one_split_with_its_label(convert, photos):
    dataset = convert(photos, "--seed=3")
    info = dataset.info
    assert info.class_names == ("cat", "dog")
    assert info.counts.rows_in == info.counts.written == 40
    assert (dataset.folder / schema.QUARANTINE_FILE).read_bytes() == b""
    examples = dataset.all_examples()
    assert len({example[schema.IMAGE_FILENAME] for example in examples}) == 40
    for example in examples:
        name = example[schema.IMAGE_FILENAME].decode()
        data = (photos / name).read_bytes()
        class_name = name.split("/")[0]
        assert example == {
            schema.IMAGE_ENCODED: data,
            schema.IMAGE_FORMAT: b"JPEG",
            schema.IMAGE_HEIGHT: 32,
            schema.IMAGE_WIDTH: 48,
            schema.IMAGE_FILENAME: name.encode(),
            schema.IMAGE_DIGEST: hashlib.sha256(data).hexdigest().encode(),
            schema.CLASS_LABEL: info.class_names.index(class_name),
            schema.CLASS_TEXT: class_name.encode(),
        }


def test_tensorflow_reads_the_records(convert, photos):
    import tensorflow as tf

    dataset = convert(photos)
    paths = [str(dataset.folder / shard.name) for shard in dataset.info.splits["train"].shards]
    features = {
        schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
        schema.CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64),
    }
    records = tf.data.TFRecordDataset(paths).map(lambda record: tf.io.parse_single_example(record, features))
    shapes = {tuple(tf.io.decode_jpeg(record[schema.IMAGE_ENCODED]).shape) for record in records}
    assert shapes == {(32, 48, 3)}


def test_an_image_that_cannot_be_used_is_quarantined_and_the_rest_written(convert, photos):
    whole = pictures.jpeg(seed=99)
    (photos / "cat" / "notes.txt").write_text("not an image")
    (photos / "cat" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "dog" / "empty.jpg").touch()
    (photos / "dog" / "really_png.jpg").write_bytes(pictures.png(seed=98))
    dataset = convert(photos, "--max_bad_fraction=0.1")
    counts = dataset.info.counts
    assert (counts.rows_in, counts.written, counts.quarantined) == (44, 41, 3)
    quarantine = {line["path"]: (line["stage"], line["reason"]) for line in dataset.lines(schema.QUARANTINE_FILE)}
    assert quarantine == {
        "cat/half.jpg": ("header", "truncated"),
        "cat/notes.txt": ("header", "not_an_image"),
        "dog/empty.jpg": ("header", "empty_file"),
    }
    assert "dog/really_png.jpg" in dataset.split_of_each_image()


def test_hidden_files_are_not_rows(convert, photos):
    (photos / "cat" / ".DS_Store").write_bytes(b"x")
    (photos / "dog" / "Thumbs.db").write_bytes(b"x")
    (photos / ".git").mkdir()
    assert convert(photos).info.counts.rows_in == 40


def test_too_many_bad_images_fail_and_leave_their_list(convert, photos, tmp_path):
    for index in range(5):
        (photos / "cat" / f"bad{index}.jpg").write_bytes(b"bad")
    with pytest.raises(UserError, match=r"5 of 45 images.*not_an_image.*dataset\.quarantine\.jsonl"):
        convert(photos)
    assert not (tmp_path / "dataset").exists()
    listed = [json.loads(line) for line in (tmp_path / "dataset.quarantine.jsonl").read_text().splitlines()]
    assert [line["path"] for line in listed] == [f"cat/bad{index}.jpg" for index in range(5)]
    convert(photos, "--max_bad_fraction=0.2")
    assert not (tmp_path / "dataset.quarantine.jsonl").exists()


def test_nothing_but_bad_images_fails_at_any_fraction(convert, tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "a.jpg").write_bytes(b"bad")
    with pytest.raises(UserError, match=r"1 of 1 images.* listed in .*quarantine\.jsonl$"):
        convert(tmp_path / "photos", "--max_bad_fraction=1")


def shard_bytes(dataset) -> dict[str, bytes]:
    return {name: data for name, data in dataset.files().items() if name.endswith(".tfrecord")}


@pytest.mark.slow
def test_shards_do_not_depend_on_the_order_of_the_input(convert, photos, tmp_path):
    rows = [(str(path), path.parent.name) for path in sorted(photos.glob("*/*.jpg"))]
    datasets = []
    for name, ordered in (("forward", rows), ("backward", rows[::-1])):
        manifest = tmp_path / f"{name}.csv"
        with manifest.open("w") as file:
            csv.writer(file).writerows(ordered)
        datasets.append(convert(manifest, "--num_shards=3", output=name))
    assert shard_bytes(datasets[0]) == shard_bytes(datasets[1])
    assert datasets[0].info.fingerprint == datasets[1].info.fingerprint


@pytest.mark.slow
def test_shards_do_not_depend_on_the_number_of_workers(convert, photos):
    one = convert(photos, "--num_shards=3", output="one")
    four = convert(photos, "--num_shards=3", "--num_workers=4", output="four")
    assert shard_bytes(one) == shard_bytes(four)


@pytest.mark.slow
def test_adding_images_leaves_everybody_else_in_their_split(convert, photos):
    before = convert(photos, output="before").split_of_each_image()
    pictures.write_class_folders(photos, num_per_class=15, classes=("bird", "fish"), first_seed=1_000)
    after = convert(photos, output="after").split_of_each_image()
    assert before.items() <= after.items()
    assert len(after) == 70


def test_copies_share_a_split(convert, photos):
    for path in sorted(photos.glob("cat/*.jpg")):
        shutil.copy(path, photos / "dog" / f"copy_{path.name}")
    splits = convert(photos).split_of_each_image()
    for index in range(20):
        assert splits[f"cat/{index:03d}.jpg"] == splits[f"dog/copy_{index:03d}.jpg"]


def test_split_folders_are_kept_and_copies_across_them_moved_to_training(convert, photos, tmp_path):
    root = tmp_path / "by_split"
    for folder, name in (("train", "cat"), ("val", "dog")):
        (root / folder).mkdir(parents=True)
        os.rename(photos / name, root / folder / name)
    (root / "val" / "cat").mkdir()
    shutil.copy(root / "train" / "cat" / "003.jpg", root / "val" / "cat" / "same.jpg")
    dataset = convert(root)
    assert {name: split.num_examples for name, split in dataset.info.splits.items()} == {"train": 21, "validation": 20}
    assert dataset.lines(schema.CHANGES_FILE) == [
        {
            "path": "val/cat/same.jpg",
            "change": "moved",
            "reason": "same_image_in_another_split",
            "detail": "from validation to train",
        }
    ]


def test_rows_without_a_split_are_divided_and_the_others_stay(convert, photos, tmp_path):
    manifest = tmp_path / "automl.csv"
    lines = [f"TEST,{path},cat" for path in sorted(photos.glob("cat/*.jpg"))]
    lines += [f"UNASSIGNED,{path},dog" for path in sorted(photos.glob("dog/*.jpg"))]
    manifest.write_text("\n".join(lines))
    splits = convert(manifest, "--split=train:1.0").info.splits
    assert splits["test"].class_counts == (20, 0)
    assert splits["train"].class_counts == (0, 20)


def test_label_offset_is_added_and_recorded(convert, photos):
    dataset = convert(photos, "--label_offset=1")
    assert dataset.info.label_offset == 1
    assert {(example[schema.CLASS_TEXT], example[schema.CLASS_LABEL]) for example in dataset.all_examples()} == {
        (b"cat", 1),
        (b"dog", 2),
    }


def test_the_labels_file_gives_the_order(convert, photos, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\nbird\ncat\n")
    dataset = convert(photos, f"--labels={labels}")
    assert dataset.info.class_names == ("dog", "bird", "cat")
    assert sum(split.class_counts[1] for split in dataset.info.splits.values()) == 0
    assert {example[schema.CLASS_LABEL] for example in dataset.all_examples()} == {0, 2}


def test_resized_images_are_recorded_with_their_new_size(convert, photos):
    for example in convert(photos, "--resize_short_side=16", "--quality=70").all_examples():
        assert (example[schema.IMAGE_WIDTH], example[schema.IMAGE_HEIGHT]) == (24, 16)
        assert pictures.decode(example[schema.IMAGE_ENCODED]).size == (24, 16)


def test_a_file_that_cannot_be_decoded_is_found_at_the_write_stage(convert, photos):
    data = bytearray(pictures.encode(pictures.pixels(size=(64, 64)), "GIF"))
    data[-40:] = b"\xff" * 40
    (photos / "cat" / "broken.gif").write_bytes(bytes(data[:200]))
    dataset = convert(photos, "--max_bad_fraction=0.1")
    assert dataset.info.counts.quarantined == 1
    assert dataset.lines(schema.QUARANTINE_FILE)[0]["stage"] in ("header", "decode")


def test_shards_that_get_no_image_are_there_too(convert, photos):
    dataset = convert(photos, "--num_shards=30", "--split=train:1.0")
    shards = dataset.info.splits["train"].shards
    assert len(shards) == 30
    assert min(shard.num_examples for shard in shards) == 0
    assert all((dataset.folder / shard.name).stat().st_size == shard.num_bytes for shard in shards)


def test_jsonl(convert, photos, tmp_path):
    manifest = tmp_path / "images.jsonl"
    rows = [{"path": f"photos/cat/{index:03d}.jpg", "label": index % 3, "split": "train"} for index in range(20)]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    dataset = convert(manifest)
    assert dataset.info.class_names == ("0", "1", "2")
    assert dataset.split_of_each_image()["photos/cat/000.jpg"] == "train"


def test_hostile_paths_are_quarantined_and_never_read(convert, photos, tmp_path):
    secret = tmp_path.parent / f"{tmp_path.name}_secret.jpg"
    secret.write_bytes(pictures.jpeg(seed=77))
    (photos / "link.jpg").symlink_to(secret)
    os.mkfifo(photos / "pipe.jpg")
    hostile = [
        "../" + secret.name,
        str(secret),
        "photos/link.jpg",
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "gs://x/a.jpg",
    ]
    hostile += ["photos/cat\0.jpg", "photos/\u202egpj.exe", "photos/pipe.jpg", "photos", "photos/missing.jpg"]
    rows = [{"path": path, "label": "cat"} for path in hostile]
    rows += [{"path": f"photos/cat/{index:03d}.jpg", "label": "cat"} for index in range(20)]
    manifest = tmp_path / "hostile.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    dataset = convert(manifest, "--max_bad_fraction=0.9")
    assert (dataset.info.counts.written, dataset.info.counts.quarantined) == (20, len(hostile))
    assert {line["reason"] for line in dataset.lines(schema.QUARANTINE_FILE)} == {
        "path_not_allowed",
        "path_malformed",
        "not_a_file",
        "not_found",
    }


def test_the_same_command_again_finds_the_dataset(convert, photos, capsys):
    dataset = convert(photos)
    files = dataset.files()
    modified = os.stat(dataset.folder / schema.DATASET_INFO_FILE).st_mtime_ns
    convert(photos)
    assert "already there" in capsys.readouterr().out
    assert os.stat(dataset.folder / schema.DATASET_INFO_FILE).st_mtime_ns == modified
    assert dataset.files() == files


def test_other_options_do_not_overwrite_unless_asked_to(convert, photos, tmp_path):
    files = convert(photos).files()
    with pytest.raises(UserError, match="other options"):
        convert(photos, "--seed=5")
    pictures.write_class_folders(photos, num_per_class=1, classes=("bird",), first_seed=500)
    with pytest.raises(UserError, match="other options or classes"):
        convert(photos)
    shutil.rmtree(photos / "bird")
    assert convert(photos).files() == files
    assert convert(photos, "--seed=5", "--overwrite").files() != files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "photos"]


@pytest.mark.slow
def test_a_damaged_dataset_is_not_taken_for_complete(convert, photos):
    dataset = convert(photos)
    next(dataset.folder.glob("train-*")).write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        convert(photos)
    convert(photos, "--overwrite")
    (dataset.folder / schema.DATASET_INFO_FILE).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        convert(photos)
    convert(photos, "--overwrite")


def test_a_folder_that_is_no_dataset_is_never_touched(convert, photos):
    for flags in ((), ("--overwrite",)):
        with pytest.raises(UserError, match="not a dataset"):
            convert(photos, *flags, output="photos")
    assert len(list(photos.glob("*/*.jpg"))) == 40


def test_versions_and_options_are_recorded(convert, photos):
    info = convert(photos, "--seed=4").info
    assert info.options["seed"] == 4
    assert info.options["fractions"] == {"train": 0.8, "validation": 0.1, "test": 0.1}
    assert {"python", "apache-beam", "pillow", "tpu-images"} <= info.versions.keys()


def damaged_files(num_files: int) -> list[bytes]:
    """Files of every format, each with a few bytes changed, taken out, put in, or its end cut off."""
    random = np.random.default_rng(0)
    whole = [pictures.encode(pictures.pixels(size=(32, 32)), image_format) for image_format in FORMATS]
    files = []
    for index in range(num_files):
        data = bytearray(whole[index % len(whole)])
        start, length = (int(value) for value in random.integers((len(data), 20)))
        files.append(bytes(data[:start] + random.bytes(int(random.integers(20))) + data[start + length :]))
    return files + [data[: len(data) // 2] for data in whole]


@pytest.mark.slow
@pytest.mark.parametrize("verify", ["header", "decode"])
def test_damaged_files_never_stop_a_job_and_none_gets_lost(convert, photos, verify):
    files = damaged_files(400)
    for index, data in enumerate(files):
        (photos / "cat" / f"damaged{index:03d}").write_bytes(data)
    dataset = convert(photos, "--max_bad_fraction=1", f"--formats={','.join(FORMATS)}", f"--verify={verify}")
    counts = dataset.info.counts
    assert counts.rows_in == len(files) + 40
    names = [line["path"] for line in dataset.lines(schema.QUARANTINE_FILE)]
    names += [example[schema.IMAGE_FILENAME].decode() for example in dataset.all_examples()]
    assert sorted(names) == sorted(str(path.relative_to(photos)) for path in photos.glob("*/*"))
    assert {line["reason"] for line in dataset.lines(schema.QUARANTINE_FILE)} <= {reason.value for reason in Reason}
    assert counts.quarantined > 100
