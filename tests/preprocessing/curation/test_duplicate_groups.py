import random

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from preprocessing.curation import duplicate_groups
from preprocessing.curation.duplicate_groups import SimilarityThresholds
from preprocessing.curation.fingerprints import Fingerprint
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs


def groups_of(files: dict[str, bytes], thresholds: SimilarityThresholds | None = None) -> set[frozenset[str]]:
    """The names in each group of at least two."""
    facts = {name: photographs.inspect(data) for name, data in files.items()}
    found = duplicate_groups.find_groups(((each.digest, each.fingerprint) for each in facts.values()), thresholds)
    by_group: dict[str, set[str]] = {}
    for name, each in facts.items():
        by_group.setdefault(found.group_id(each.digest), set()).add(name)
    return {frozenset(names) for names in by_group.values() if len(names) > 1}


def test_copies_of_a_photograph_are_one_group():
    china = photographs.china()
    files = {
        "original": pictures.encode(china, "JPEG", quality=95),
        "worse": pictures.encode(china, "JPEG", quality=30),
        "smaller": pictures.encode(china.resize((320, 213)), "PNG"),
        "brighter": pictures.encode(ImageEnhance.Brightness(china).enhance(1.2), "JPEG"),
        "trimmed": pictures.encode(china.crop((10, 8, 630, 419)), "JPEG"),
        "grey": pictures.encode(china.convert("L"), "PNG"),
        "flower": pictures.encode(photographs.flower(), "JPEG"),
    }
    assert groups_of(files) == {frozenset(files) - {"flower"}}


def test_pictures_that_only_share_a_hash_are_apart():
    """The thumbnail tells a red square from a blue one of the same brightness."""
    files = {name: pictures.png(seed) for seed, name in enumerate(["one", "other"])}
    first, second = (photographs.inspect(data) for data in files.values())
    same_hash = second.fingerprint._replace(perceptual_hash=first.fingerprint.perceptual_hash)
    found = duplicate_groups.find_groups([(first.digest, first.fingerprint), (second.digest, same_hash)])
    assert not found.group_ids


def test_flat_images_are_grouped_only_when_identical():
    flat = {f"white {size}": pictures.encode(Image.new("RGB", size, "white"), "PNG") for size in ((10, 40), (40, 10))}
    flat["white 10x40 again"] = pictures.encode(Image.new("RGB", (10, 40), "white"), "BMP")
    flat["red"] = pictures.encode(Image.new("RGB", (10, 40), "red"), "PNG")
    assert groups_of(flat) == {frozenset({"white (10, 40)", "white 10x40 again"})}


def test_turned_by_exif_is_the_same_picture():
    china = photographs.china()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pictures.encode(china.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    upright = pictures.encode(china, "PNG")
    facts = [photographs.inspect(data) for data in (turned, upright)]
    assert facts[0].fingerprint == facts[1].fingerprint
    assert groups_of({"turned": turned, "upright": upright}) == {frozenset({"turned", "upright"})}


def test_group_id_is_the_smallest_digest_in_any_order():
    data = [pictures.encode(photographs.china(), "JPEG", quality=quality) for quality in (30, 50, 70, 90)]
    images = [(each.digest, each.fingerprint) for each in map(photographs.inspect, data)]
    smallest = min(digest for digest, _ in images)
    for seed in range(5):
        random.Random(seed).shuffle(images)
        assert duplicate_groups.find_groups(images).group_ids == {digest: smallest for digest, _ in images}


@pytest.mark.slow
def test_handwritten_digits_are_not_copies_of_one_another():
    """At the threshold for photographs two thirds of them would be, in chains of hundreds."""
    facts = [photographs.inspect(pictures.encode(image, "PNG")) for image, _ in photographs.digits()]
    found = duplicate_groups.find_groups((each.digest, each.fingerprint) for each in facts)
    assert found.min_correlation > 0.95
    assert len(found.group_ids) < 0.03 * len(facts)


def drifting(number: int) -> list[tuple[str, Fingerprint]]:
    """Images each of which is nearly the next, while the first and the last have nothing in common."""
    random_values = np.random.default_rng(0)
    thumbnail = random_values.integers(0, 256, 192).astype(np.uint8)
    images = []
    for index in range(number):
        thumbnail = thumbnail.copy()
        thumbnail[random_values.integers(0, 192)] = random_values.integers(0, 256)
        images.append(
            (f"{index:064x}", Fingerprint(index.to_bytes(16), (1 << index % 64) - 1, thumbnail.tobytes(), True))
        )
    return images


def test_groups_have_a_largest_size():
    images = drifting(60)
    whole = duplicate_groups.find_groups(images)
    assert len(set(whole.group_ids.values())) == 1
    cut = duplicate_groups.find_groups(images, SimilarityThresholds(max_group_images=10))
    sizes = np.unique(list(cut.group_ids.values()), return_counts=True)[1]
    assert sizes.max() <= 10
    assert cut.num_refused_links > 0 == whole.num_refused_links


def test_a_crowd_with_one_hash_is_one_group():
    """2,000 different files of one picture do not take two million comparisons, and still hang together."""
    thumbnail = np.random.default_rng(0).integers(0, 256, 192).astype(np.uint8).tobytes()
    images = [(f"{index:064x}", Fingerprint(index.to_bytes(16), 99, thumbnail, True)) for index in range(900)]
    assert set(duplicate_groups.find_groups(images).group_ids.values()) == {"0" * 64}


@pytest.mark.parametrize("values", [{"max_distance": 11}, {"min_correlation": 0}, {"max_group_images": 1}])
def test_thresholds_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        SimilarityThresholds(**values)


@pytest.mark.parametrize("other_hash", [0x5555, 0x5556], ids=["the same hash", "two hashes"])
def test_copies_among_many_pictures_with_alike_hashes_are_found(other_hash):
    random_numbers = np.random.default_rng(0)
    thumbnails = random_numbers.integers(0, 60, (2_000, 192), dtype=np.uint8)
    thumbnails += random_numbers.integers(0, 190, (2_000, 1), dtype=np.uint8)  # dark and bright pictures
    thumbnails[1_000:1_100] = thumbnails[:100] ^ 1
    images = [
        (
            f"{index:064x}",
            Fingerprint(index.to_bytes(16, "big"), 0x5555 if index < 1_000 else other_hash, each.tobytes(), True),
        )
        for index, each in enumerate(thumbnails)
    ]
    found = duplicate_groups.find_groups(images, SimilarityThresholds(min_correlation=0.99))
    assert len(found.group_ids) == 200
    assert all(found.group_id(images[1_000 + index][0]) == images[index][0] for index in range(100))
