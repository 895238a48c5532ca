import pytest
from PIL import ImageEnhance

from preprocessing.curation import group_findings
from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.issues import Issue
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs

CHINA = pictures.encode(photographs.china(), "JPEG", quality=95)
SAME_PIXELS = pictures.encode(pictures.decode(CHINA), "PNG")
SMALLER = pictures.encode(photographs.china().resize((320, 213)), "JPEG")
BRIGHTER = pictures.encode(ImageEnhance.Brightness(photographs.china()).enhance(1.1), "JPEG")


def image(data: bytes, name: str, label: str = "temple", asked: str = "", split: str = "train") -> ImageFacts:
    return photographs.inspect(data, name, label, asked)._replace(split=split)


def found(*images: ImageFacts) -> list[set[Issue]]:
    """The issues of each image."""
    return [{each.issue for each in findings} for findings in group_findings.of_group(images, 0.9, 10)]


def test_an_image_alone_is_fine():
    assert found(image(CHINA, "a.jpg")) == [set()]


@pytest.mark.parametrize(
    ("copy", "issue"),
    [
        (CHINA, Issue.EXACT_DUPLICATES),
        (SAME_PIXELS, Issue.PIXEL_DUPLICATES),
        (SMALLER, Issue.NEAR_DUPLICATES),
        (BRIGHTER, Issue.NEAR_DUPLICATES),
    ],
)
def test_one_of_two_copies_is_found(copy, issue):
    assert found(image(CHINA, "a.jpg"), image(copy, "b.jpg")) == [set(), {issue}]
    assert found(image(copy, "b.jpg"), image(CHINA, "a.jpg")) == [{issue}, set()]


def test_the_largest_is_kept():
    assert found(image(CHINA, "z.jpg"), image(SMALLER, "a.jpg")) == [set(), {Issue.NEAR_DUPLICATES}]


def test_of_two_equal_rows_one_is_found():
    """A CSV may name one image twice."""
    assert sorted(found(image(CHINA, "a.jpg"), image(CHINA, "a.jpg")), key=len) == [set(), {Issue.EXACT_DUPLICATES}]


def test_a_detail_names_the_other_image_and_the_numbers():
    (_, findings) = group_findings.of_group([image(CHINA, "a.jpg"), image(SMALLER, "b.jpg")], 0.9, 10)
    assert findings[0].detail == "like a.jpg (correlation 1.000, 0 of 64 bits differ)"
    assert findings[0].partner.name == "a.jpg"


@pytest.mark.parametrize("copy", [CHINA, SAME_PIXELS])
def test_same_image_under_two_labels(copy):
    """Nobody knows which label is right: both are told, and neither is a mere duplicate."""
    conflict = {Issue.LABEL_CONFLICTS}
    assert found(image(CHINA, "a.jpg", "roses"), image(copy, "b.jpg", "tulips")) == [conflict, conflict]


def test_a_conflict_and_a_copy_with_the_same_label():
    images = [
        image(CHINA, name, label) for name, label in (("a.jpg", "roses"), ("b.jpg", "tulips"), ("c.jpg", "roses"))
    ]
    assert found(*images) == [
        {Issue.LABEL_CONFLICTS},
        {Issue.LABEL_CONFLICTS},
        {Issue.LABEL_CONFLICTS, Issue.EXACT_DUPLICATES},
    ]


def test_similar_images_under_two_labels():
    issues = found(image(CHINA, "a.jpg", "roses"), image(SMALLER, "b.jpg", "tulips"))
    assert issues == [{Issue.SIMILAR_LABEL_CONFLICTS}] * 2


def test_near_copies_of_contradicting_copies_are_kept():
    """If the contradicting ones are dropped as well, the picture would be lost."""
    images = [image(CHINA, "a.jpg", "roses"), image(CHINA, "b.jpg", "tulips"), image(SMALLER, "c.jpg", "roses")]
    assert found(*images)[2] == set()


def test_members_of_a_group_that_are_not_similar_are_no_duplicates():
    """A chain of resemblances joined them."""
    flower = image(pictures.encode(photographs.flower(), "JPEG"), "b.jpg")
    assert found(image(CHINA, "a.jpg"), flower) == [set(), set()]


def test_a_leak_is_told_for_the_image_that_moves():
    images = [image(CHINA, "a.jpg", asked="train"), image(SMALLER, "b.jpg", asked="test"), image(BRIGHTER, "c.jpg")]
    leaking = [Issue.SPLIT_LEAKAGE in issues for issues in found(*images)]
    assert leaking == [False, True, False]


def test_no_leak_where_the_input_names_no_splits():
    assert Issue.SPLIT_LEAKAGE not in set().union(*found(image(CHINA, "a.jpg"), image(CHINA, "b.jpg")))


def test_a_group_of_contradictions_alone():
    conflict = {Issue.LABEL_CONFLICTS}
    assert found(*(image(CHINA, f"{label}.jpg", label) for label in "abc")) == [conflict] * 3
