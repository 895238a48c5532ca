"""Makes a small dataset with one of each fault, reports on it, and takes the picture of the report in the docs.

    python benchmarks/curation_report.py --folder=example --screenshot=docs/images/curation_report.png

The images are cut from scikit-learn's two photographs. The screenshot needs Chromium.
"""

import argparse
import collections
import hashlib
import io
import itertools
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn import datasets

from preprocessing import reading, sources
from preprocessing.curation import dataset_findings, duplicate_groups, facts, group_findings, image_findings, report
from preprocessing.curation.curation_options import CurationOptions
from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.report_content import NearDuplicateSearch, ReportContent
from preprocessing.dataset_info import RowCounts
from preprocessing.options import ConvertOptions
from preprocessing.quarantine import QuarantinedRow
from preprocessing.split import SplitFractions

OPTIONS = CurationOptions()
FRACTIONS = SplitFractions()
ORIENTATION_TAG = 0x0112


def main() -> None:
    """Writes the images and the report, and takes the screenshot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where images and report go")
    parser.add_argument("--screenshot", type=pathlib.Path, help="PNG file to make")
    parser.add_argument("--chromium", default="chromium", help="the browser (%(default)s)")
    arguments = parser.parse_args()
    photos = arguments.folder / "photos"
    write_images(photos)
    options = ConvertOptions(str(photos), str(arguments.folder))
    report.write(str(arguments.folder), curate(options), options.images)
    page = (arguments.folder / "report.html").resolve()
    print(f"report: {page}")
    if arguments.screenshot:
        take_screenshot(page, arguments.screenshot, arguments.chromium)
        print(f"screenshot: {arguments.screenshot}")


def write_images(folder: pathlib.Path) -> None:
    """Writes a folder per class: temples by day and by night, flowers, and what goes wrong with such collections."""
    random = np.random.default_rng(0)
    temple, flower = (
        Image.fromarray(datasets.load_sample_image(name)).resize((1280, 854)) for name in ("china.jpg", "flower.jpg")
    )
    for index in range(60):
        save(cut(temple, random), folder / f"temple/{index:03d}.jpg")
        save(cut(flower, random), folder / f"flower/{index:03d}.jpg")
        save(ImageEnhance.Brightness(cut(temple, random)).enhance(0.18), folder / f"night/{index:03d}.jpg")
    write_copies(folder)
    write_faults(folder, cut(temple, random), flower)


def cut(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    """Returns some part of a photograph."""
    width, height = int(random.integers(300, 420)), int(random.integers(220, 320))
    left, top = (int(random.integers(0, most)) for most in (photograph.width - width, photograph.height - height))
    return photograph.crop((left, top, left + width, top + height))


def save(image: Image.Image, path: pathlib.Path, image_format: str = "JPEG", **options) -> None:
    """Writes an image, whatever the name says about its format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    path.write_bytes(buffer.getvalue())


def write_copies(folder: pathlib.Path) -> None:
    """Writes copies and near-copies of images that are there, some of them under another label."""
    temples = [Image.open(folder / f"temple/{index:03d}.jpg") for index in range(5)]
    first = (folder / "temple/000.jpg").read_bytes()
    (folder / "temple/copy of 000.jpg").write_bytes(first)
    (folder / "flower/dahlia.jpg").write_bytes((folder / "temple/001.jpg").read_bytes())
    save(temples[2], folder / "temple/002.png", "PNG")
    save(temples[3].resize((200, 150)), folder / "temple/003 small.jpg")
    save(ImageEnhance.Brightness(temples[4]).enhance(1.2), folder / "temple/004 brighter.jpg")


def write_faults(folder: pathlib.Path, temple: Image.Image, flower: Image.Image) -> None:
    """Writes images that a person would not have chosen."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    save(temple.filter(ImageFilter.GaussianBlur(9)), folder / "temple/out of focus.jpg")
    save(Image.eval(temple, lambda level: 246 + level // 28), folder / "temple/overexposed.jpg")
    save(Image.new("RGB", (300, 300), "white"), folder / "temple/blank.png", "PNG")
    save(flower.crop((0, 400, 1280, 520)), folder / "flower/panorama.jpg")
    save(flower.resize((24, 16)), folder / "flower/icon.png", "PNG")
    save(flower.resize((3840, 2562)), folder / "flower/original.jpg")
    save(flower.crop((500, 300, 800, 600)), folder / "flower/really a png.jpg", "PNG")
    save(flower.crop((300, 200, 640, 440)), folder / "flower/turned.jpg", exif=exif)
    whole = (folder / "temple/010.jpg").read_bytes()
    (folder / "temple/broken off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "flower/notes.jpg").write_text("bought at the market")


def curate(options: ConvertOptions) -> ReportContent:
    """Returns what is wrong with a folder of images, without writing a dataset."""
    source = sources.open_source(options)
    entries = [
        reading.scan_image(row, options.images) for row in itertools.chain.from_iterable(map(source.read, source.units))
    ]
    rejected = [entry for entry in entries if isinstance(entry, QuarantinedRow)]
    images = [inspect(entry, options) for entry in entries if not isinstance(entry, QuarantinedRow)]
    found = duplicate_groups.find_groups((image.digest, image.fingerprint) for image in images)
    placed = [image._replace(split=FRACTIONS.choose(found.group_id(image.digest), 0)) for image in images]
    summary = DatasetSummary().add(placed)
    findings = [
        *map(image_findings.of_quarantined_row, rejected),
        *findings_of_images(placed, found, summary),
        *dataset_findings.of_dataset(summary, source.class_names, dict(FRACTIONS.fractions), OPTIONS.dataset),
    ]
    return ReportContent(
        title="photos",
        class_names=source.class_names,
        rows=RowCounts(len(entries), len(images), len(rejected)),
        summary=summary,
        findings=findings,
        near_duplicates=NearDuplicateSearch(
            OPTIONS.similarity.max_distance,
            OPTIONS.similarity.min_correlation,
            found.min_correlation,
            found.num_refused_links,
        ),
        quality_thresholds=OPTIONS.quality,
        dataset_thresholds=OPTIONS.dataset,
    )


def inspect(image: reading.ScannedImage, options: ConvertOptions) -> ImageFacts:
    """Returns the facts about a scanned image."""
    data = reading.read_image(image.row.path, options.images.max_bytes)
    assert hashlib.sha256(data).hexdigest() == image.digest
    return facts.inspect_image(data, image.digest, image.row, image.header)


def findings_of_images(
    images: list[ImageFacts], found: duplicate_groups.DuplicateGroups, summary: DatasetSummary
) -> Iterator:
    """Yields the findings about images, by themselves and in their groups."""
    members = collections.defaultdict(list)
    for image in images:
        members[found.group_id(image.digest)].append(image)
    for group in members.values():
        similarity = OPTIONS.similarity
        of_group = group_findings.of_group(group, found.min_correlation, similarity.max_distance)
        yield from itertools.chain.from_iterable(of_group)
    usual = image_findings.usual_sides(summary, OPTIONS.quality)
    for image in images:
        yield from image_findings.of_image(image, OPTIONS.quality, usual)


def take_screenshot(page: pathlib.Path, screenshot: pathlib.Path, chromium: str) -> None:
    """Takes a picture of the upper part of a page, with few enough colours to be a small file."""
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        taken = pathlib.Path(scratch, "taken.png")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={scratch}/profile", "--window-size=1240,2700", f"--screenshot={taken}"]
        subprocess.run([*command, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
        Image.open(taken).convert("RGB").quantize(192).save(screenshot, optimize=True)


if __name__ == "__main__":
    main()
