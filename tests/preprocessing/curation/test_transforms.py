"""Curation as a Beam job, on the real runner."""

import json
import pathlib

import apache_beam as beam
import numpy as np
import pytest

from preprocessing import reading
from preprocessing.curation import duplicate_groups, facts, transforms
from preprocessing.curation.curation_options import CurationOptions
from preprocessing.curation.drops import DropRules
from preprocessing.curation.duplicate_groups import SimilarityThresholds
from preprocessing.curation.fingerprints import Fingerprint
from preprocessing.curation.group_transforms import FindGroups, FingerprintBatch
from preprocessing.curation.issues import Issue
from preprocessing.curation.transforms import InspectedBatch, InspectedImage
from preprocessing.options import ImageOptions
from preprocessing.rows import Row
from preprocessing.split import SplitFractions
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs


def inspect_file(path: pathlib.Path, label: str, split: str = "") -> InspectedImage:
    scanned = reading.scan_image(Row(str(path), path.name, label, split), ImageOptions())
    assert isinstance(scanned, reading.ScannedImage)
    found = facts.inspect_image(path.read_bytes(), scanned.digest, scanned.row, scanned.header)
    return InspectedImage(scanned, found)


def run(images: list[InspectedImage], options: CurationOptions, folder: pathlib.Path) -> dict[str, list]:
    """Runs the job and returns the elements of each of its outputs."""
    batches = [InspectedBatch(images[start : start + 3]) for start in range(0, len(images), 3)]
    outputs: dict[str, list] = {}
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        curated = transforms.curate(pipeline | beam.Create(batches), options, SplitFractions(), seed=0)
        for name, elements in curated._asdict().items():
            _ = elements | f"Show{name}" >> beam.Map(str) | f"Write{name}" >> beam.io.WriteToText(str(folder / name))
    for name in curated._fields:
        outputs[name] = [line for path in sorted(folder.glob(f"{name}-*")) for line in path.read_text().splitlines()]
    return outputs


pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path) -> list[InspectedImage]:
    """Twelve different pictures; a photograph, a copy and a near-copy in three splits; one picture with two labels."""
    china = photographs.china()
    files = {f"{seed:02d}.jpg": (pictures.jpeg(seed, (200, 150)), "abstract", "") for seed in range(12)}
    files |= {
        "china.jpg": (pictures.encode(china, "JPEG"), "temple", "test"),
        "china again.jpg": (pictures.encode(china, "JPEG"), "temple", "validation"),
        "china small.jpg": (pictures.encode(china.resize((400, 267)), "JPEG"), "temple", "train"),
        "12.jpg": (pictures.jpeg(0, (200, 150)), "temple", ""),
    }
    images = []
    for name, (data, label, split) in files.items():
        (tmp_path / name).write_bytes(data)
        images.append(inspect_file(tmp_path / name, label, split))
    return images


def test_the_whole_job(photos, tmp_path):
    rules = DropRules.parse("exact_duplicates,label_conflicts")
    outputs = run(photos, CurationOptions(drop=rules), tmp_path)
    text = {name: "\n".join(lines) for name, lines in outputs.items()}
    assert all(f"'{name}'" not in text["images"] for name in ("00.jpg", "12.jpg"))
    kept = [image for image in photos if f"name={image.facts.name!r}" in text["images"]]
    assert len(kept) == len(photos) - 3
    splits = [line.partition(",")[0] for line in outputs["images"] if "china" in line]
    assert splits == ["('train'"] * len(splits) != []
    assert text["changes"].count("'moved'") == 2
    assert text["changes"].count("'dropped'") == 3
    counts = {issue: text["findings"].count(f"<Issue.{issue.name}:") for issue in Issue}
    assert {issue: count for issue, count in counts.items() if count} == {
        Issue.LABEL_CONFLICTS: 2,
        Issue.EXACT_DUPLICATES: 1,
        Issue.NEAR_DUPLICATES: 1,
        Issue.SPLIT_LEAKAGE: 2,
        Issue.BLURRY: 13,
        Issue.ODD_SIZE: 2,
    }
    assert len(outputs["summary"]) == len(outputs["groups"]) == 1


def test_without_images(tmp_path):
    outputs = run([], CurationOptions(), tmp_path)
    assert outputs["images"] == outputs["findings"] == outputs["changes"] == []
    assert len(outputs["summary"]) == 1


def many_fingerprints() -> list[tuple[str, Fingerprint]]:
    """3,000 pictures, more than are all compared with one another; one in ten has a near-copy."""
    random = np.random.default_rng(0)
    images = []
    for index in range(3_000):
        thumbnail = random.integers(0, 256, 192, dtype=np.uint8)
        value = int(random.integers(0, 2**63))
        images.append((f"{index:05d}", Fingerprint(index.to_bytes(16), value, thumbnail.tobytes(), True)))
        if index % 10 == 0:
            copy = Fingerprint(index.to_bytes(15) + b"c", value ^ 0b1011, (thumbnail // 2).tobytes(), True)
            images.append((f"{index:05d} copy", copy))
    return images


def test_groups_are_those_found_without_a_job(tmp_path):
    images = many_fingerprints()
    batches = [FingerprintBatch(images[start : start + 100]) for start in range(0, len(images), 100)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = pipeline | beam.Create(batches) | FindGroups(SimilarityThresholds())
        as_json = found | beam.Map(lambda groups: json.dumps(groups.group_ids, sort_keys=True))
        _ = as_json | beam.io.WriteToText(str(tmp_path / "groups"), shard_name_template="")
    expected = duplicate_groups.find_groups(images).group_ids
    assert len(expected) == 600
    assert json.loads((tmp_path / "groups").read_text()) == expected
