"""How many of CIFAR-10's known copies between test and training images a conversion with --curate finds.

    python benchmarks/cifar_near_duplicates.py cifar-10-batches-bin duplicates_cifar10.csv

The folder is CIFAR-10's binary version (`data_batch_1.bin` ... `test_batch.bin`), or the same as PNGs of 1024x10000
pixels, a row for each picture, with the labels in two JSON files. The list is `meta/duplicates_cifar10.csv` of ciFAIR
(Barz and Denzler, "Do we train on test data?", 2020): for test images a training image that shows the same, as judged
by its authors. It names one partner for each test image, and not all copies: precision is a lower bound.

A test image is found when the conversion moves it to the training split, as its group has a training image.
"""

import argparse
import collections
import csv
import io
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from preprocessing import example_proto, schema, tfrecord
from preprocessing.curation import duplicate_groups, fingerprints, properties
from preprocessing.curation.fingerprints import Fingerprint
from preprocessing.dataset_info import DatasetInfo

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCHES = ("test_batch",)
RECORD_BYTES = 1 + 3 * 32 * 32
# As judged by the list's authors: 0 the same pixels, 1 a near-duplicate, 2 a similar picture.
NEAR_DUPLICATE = 1


def main() -> None:
    """Writes the images as PNG files, converts them, prints recall, precision, and groups in several splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cifar", type=pathlib.Path, help="folder of CIFAR-10, binary or PNG")
    parser.add_argument("duplicates", type=pathlib.Path, help="CSV of TestID,TrainID,Distance,Judgment")
    parser.add_argument("--folder", help="where the images and the dataset go (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        images, dataset = pathlib.Path(scratch, "images"), pathlib.Path(scratch, "dataset")
        for split, batches in ((schema.TRAIN, TRAIN_BATCHES), (schema.TEST, TEST_BATCHES)):
            write_images(arguments.cifar, batches, images / split)
        command = [sys.executable, "-m", "preprocessing.task", str(images), str(dataset), "--curate"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print_agreement(moved_test_images(dataset), read_list(arguments.duplicates))
        info = DatasetInfo.from_json((dataset / schema.DATASET_INFO_FILE).read_text(), where=str(dataset))
        counts = info.counts
        print(f"{counts.rows_in:,} rows = {counts.written:,} written + {counts.quarantined:,} quarantined")
        print(f"{num_groups_in_several_splits(dataset, info):,} groups of near-duplicates lie in several splits")


def write_images(cifar: pathlib.Path, batches: tuple[str, ...], folder: pathlib.Path) -> None:
    """Writes `CLASS/NUMBER.png` for each image of the batches; the number is its place in all of them."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    read = read_binary if (cifar / f"{batches[0]}.bin").exists() else read_png
    for number, (picture, label) in enumerate(read(cifar, batches)):
        Image.fromarray(picture).save(folder / CLASSES[label] / f"{number:05d}.png")


def read_binary(cifar: pathlib.Path, batches: tuple[str, ...]) -> Iterator[tuple[np.ndarray, int]]:
    """Yields uint8 `[32, 32, 3]` and the label of each image of the binary version."""
    for batch in batches:
        records = np.fromfile(cifar / f"{batch}.bin", np.uint8).reshape(-1, RECORD_BYTES)
        pictures = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        yield from zip(pictures, records[:, 0].tolist(), strict=True)


def read_png(cifar: pathlib.Path, batches: tuple[str, ...]) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the same from large PNG files; that package misspells the names of its lists of labels."""
    labels = json.loads((cifar / f"{'train' if batches == TRAIN_BATCHES else 'test'}_lables.json").read_text())
    pictures = (
        picture
        for batch in batches
        for picture in np.asarray(Image.open(cifar / f"{batch}.png").convert("RGB")).reshape(-1, 32, 32, 3)
    )
    return zip(pictures, labels, strict=True)


def read_list(path: pathlib.Path) -> dict[int, int]:
    """Returns the judgment about each test image of the list."""
    with open(path, newline="") as file:
        return {int(row["TestID"]): int(row["Judgment"]) for row in csv.DictReader(file)}


def moved_test_images(dataset: pathlib.Path) -> set[int]:
    """Returns the numbers of the test images that the conversion moved to the training images."""
    changes = map(json.loads, (dataset / schema.CHANGES_FILE).read_text().splitlines())
    paths = [pathlib.PurePath(change["path"]) for change in changes]
    return {int(path.stem) for path in paths if path.parts[0] == schema.TEST}


def print_agreement(found: set[int], judgments: dict[int, int]) -> None:
    """Prints recall and precision against the list, and what is not in it, to be looked at."""
    near = {image for image, judgment in judgments.items() if judgment <= NEAR_DUPLICATE}
    print(
        f"listed near-duplicates found: {len(near & found)} of {len(near)}, recall {len(near & found) / len(near):.1%}"
    )
    print(f"found and listed: {len(found & judgments.keys())} of {len(found)}, precision at least ", end="")
    print(f"{len(found & judgments.keys()) / len(found):.1%}")
    print(f"found and not listed: {', '.join(map(str, sorted(found - judgments.keys())))}")


def num_groups_in_several_splits(dataset: pathlib.Path, info: DatasetInfo) -> int:
    """Looks for near-duplicates among the written images anew; returns how many groups lie in more than one split."""
    images: dict[str, Fingerprint] = {}
    splits: dict[str, str] = {}
    for split, digest, picture in read_dataset(dataset, info):
        images[digest] = fingerprints.take(picture, properties.reduce_for_measuring(picture))
        splits[digest] = split
    groups = duplicate_groups.find_groups(images.items())
    splits_of_group = collections.defaultdict(set)
    for digest, split in splits.items():
        splits_of_group[groups.group_id(digest)].add(split)
    return sum(len(each) > 1 for each in splits_of_group.values())


def read_dataset(dataset: pathlib.Path, info: DatasetInfo) -> Iterator[tuple[str, str, Image.Image]]:
    """Yields split, digest and picture of each example."""
    for split in info.splits:
        for shard in info.splits[split].shards:
            with open(dataset / shard.name, "rb") as file:
                for record in tfrecord.read_records(file):
                    example = example_proto.decode(record)
                    encoded, digest = example[schema.IMAGE_ENCODED][0], example[schema.IMAGE_DIGEST][0].decode()
                    yield split, digest, Image.open(io.BytesIO(encoded)).convert("RGB")


if __name__ == "__main__":
    main()
