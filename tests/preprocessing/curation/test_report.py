from preprocessing import schema
from preprocessing.curation import report
from preprocessing.curation.issues import Issue
from preprocessing.options import ImageOptions
from tests.preprocessing import pictures
from tests.preprocessing.curation import contents


def test_report_files_are_written(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(pictures.jpeg())
    finding = contents.pair(Issue.DARK)
    reference = finding.image._replace(path=str(path))
    content = contents.content([finding._replace(image=reference, partner=reference._replace(path="/nowhere"))])
    report.write(str(tmp_path), content, ImageOptions())
    names = {schema.REPORT_HTML_FILE, schema.REPORT_JSON_FILE, schema.ISSUES_CSV_FILE}
    assert names <= {each.name for each in tmp_path.iterdir()}
    page = (tmp_path / schema.REPORT_HTML_FILE).read_text()
    assert page.count("data:image/jpeg") == 1
    assert page.count("no picture") == 1
