"""`issues.csv`: one line for each finding, safe to open in a spreadsheet."""

import csv
import io

from preprocessing.curation import report_content
from preprocessing.curation.issues import Finding
from preprocessing.curation.report_content import ReportContent

COLUMNS = ("issue", "severity", "name", "label", "split", "partner", "partner_label", "detail")
# A spreadsheet would run a cell that begins with one of these as a formula (CWE-1236); the last ones are wide = + - @.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def to_csv(content: ReportContent) -> str:
    """Returns the text of the file, with a header line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # its line ends are \r\n: only then does it quote cells with a lone \r as well
    writer.writerow(COLUMNS)
    for finding in report_content.in_order(content):
        writer.writerow(map(defuse, _cells(finding)))
    return buffer.getvalue()


def defuse(cell: str) -> str:
    """Returns a cell that no spreadsheet runs as a formula; bytes of a name that are not UTF-8 become visible."""
    encodable = cell.encode(errors="backslashreplace").decode()
    return f"'{encodable}" if encodable.startswith(_FORMULA_STARTS) else encodable


def _cells(finding: Finding) -> tuple[str, ...]:
    image, partner = finding.image, finding.partner
    return (
        finding.issue,
        finding.severity,
        image.name,
        image.label,
        image.split,
        partner.name if partner else "",
        partner.label if partner else "",
        finding.detail,
    )
