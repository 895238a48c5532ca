import pytest
from PIL import Image, ImageEnhance, ImageFilter

from preprocessing.curation import image_findings
from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.issues import Issue
from preprocessing.curation.thresholds import QualityThresholds
from preprocessing.quarantine import QuarantinedRow, Reason
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs


def issues_of(image: Image.Image, name: str = "a.png", **options) -> set[Issue]:
    found = photographs.inspect(pictures.encode(image, "PNG", **options), name)
    return {finding.issue for finding in image_findings.of_image(found, QualityThresholds())}


def washed_out(image: Image.Image) -> Image.Image:
    return Image.eval(image, lambda level: 244 + level // 24)


def turned_by_exif() -> dict:
    exif = Image.Exif()
    exif[0x0112] = 8
    return {"exif": exif}


@pytest.mark.parametrize("photograph", [photographs.china, photographs.flower])
def test_nothing_is_wrong_with_a_photograph(photograph):
    assert issues_of(photograph()) == set()
    assert issues_of(photograph().resize((64, 48))) == set()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (ImageEnhance.Brightness(photographs.china()).enhance(0.25), {Issue.DARK}),
        (washed_out(photographs.china()), {Issue.BRIGHT, Issue.LOW_INFORMATION}),
        (photographs.china().filter(ImageFilter.GaussianBlur(8)), {Issue.BLURRY}),
        (Image.new("RGB", (100, 100), "white"), {Issue.BRIGHT, Issue.LOW_INFORMATION}),
        (Image.new("RGB", (100, 100), (90, 120, 90)), {Issue.LOW_INFORMATION}),
        (photographs.china().crop((0, 200, 640, 300)), {Issue.ODD_ASPECT}),
        (photographs.china().crop((0, 0, 100, 427)), {Issue.ODD_ASPECT}),
        (photographs.china().resize((30, 40)), {Issue.TOO_SMALL}),
    ],
)
def test_what_is_wrong_is_told(image, expected):
    assert issues_of(image) == expected


def test_handwritten_digits_are_small_and_nothing_else():
    assert set().union(*(issues_of(image) for image, _ in photographs.digits()[:50])) == {Issue.TOO_SMALL}


def test_file_issues():
    assert issues_of(photographs.china(), "a.jpg", **turned_by_exif()) == {Issue.WRONG_EXTENSION, Issue.ROTATED}


def test_the_detail_says_the_numbers():
    found = photographs.inspect(pictures.encode(photographs.china().resize((20, 90)), "PNG"), "a.png")
    details = {each.issue: each.detail for each in image_findings.of_image(found, QualityThresholds())}
    assert details[Issue.ODD_ASPECT] == "20x90 pixels, 4.5 times as long as wide"
    assert details[Issue.TOO_SMALL] == "20x90 pixels"


def odd_sizes(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found = [photographs.inspect(pictures.png(seed, size), "a.png") for seed, size in enumerate(sizes)]
    usual = image_findings.usual_sides(DatasetSummary().add(found), QualityThresholds())
    return [
        (image.properties.width, image.properties.height)
        for image in found
        for finding in image_findings.of_image(image, QualityThresholds(), usual)
        if finding.issue is Issue.ODD_SIZE
    ]


def test_odd_sizes_are_far_from_all_others():
    usual = [(100, 100), (110, 90), (120, 100), (100, 90)] * 5
    assert odd_sizes([*usual, (20, 20), (60, 60), (180, 180), (700, 500)]) == [(20, 20), (700, 500)]
    assert odd_sizes([(64, 64)] * 10) == []


def test_a_dataset_without_images_has_no_odd_sizes():
    least, most = image_findings.usual_sides(DatasetSummary(), QualityThresholds())
    assert (least, most) == (0, float("inf"))


@pytest.mark.parametrize("reason", Reason)
def test_every_quarantined_row_is_an_issue(reason):
    finding = image_findings.of_quarantined_row(QuarantinedRow("a.jpg", "header", reason.value, "why"))
    assert finding.image.name == "a.jpg"
    assert finding.issue in (Issue.UNREADABLE, Issue.TRUNCATED, Issue.UNSUPPORTED_MODE)
    assert finding.detail == f"{reason.value}: why"


@pytest.mark.parametrize(
    "values",
    [{"dark_below": 2}, {"entropy_bits_below": 9}, {"aspect_ratio_above": 0.5}, {"short_side_pixels_below": -1}],
)
def test_thresholds_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        QualityThresholds(**values)
