"""The files of a curation report."""

from collections.abc import Callable, Mapping

from preprocessing import reading, schema, storage
from preprocessing.curation import issues_csv, report_html, report_json, thumbnails
from preprocessing.curation.report_content import ReportContent
from preprocessing.options import ImageOptions
from preprocessing.quarantine import RejectedError


def write(folder: str, content: ReportContent, options: ImageOptions) -> None:
    """Writes the files of a report into a folder; reads the images of its examples again, a few hundred."""
    for name, text in files(content, lambda path: _thumbnail(path, options)).items():
        storage.write_text(storage.join(folder, name), text)


def files(content: ReportContent, load_thumbnail: Callable[[str], str]) -> Mapping[str, str]:
    """Returns the text of each file by its name; `load_thumbnail` gives the data URI of the image at a path, or ""."""
    return {
        schema.REPORT_HTML_FILE: report_html.to_html(content, load_thumbnail),
        schema.REPORT_JSON_FILE: report_json.to_json(content),
        schema.ISSUES_CSV_FILE: issues_csv.to_csv(content),
    }


def _thumbnail(path: str, options: ImageOptions) -> str:
    try:
        return thumbnails.data_uri(reading.read_image(path, options.max_bytes), options)
    except RejectedError:
        return ""
