import pytest

from preprocessing import manifests
from preprocessing.errors import UserError
from preprocessing.manifests import ManifestEntry
from preprocessing.quarantine import QuarantinedRow


@pytest.fixture
def manifest(tmp_path):
    """`manifest(text, name)` writes a manifest and returns its place."""

    def write(text: str | bytes, name: str = "images.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def entries(place: str) -> list[tuple]:
    return [
        tuple(entry[1:]) if isinstance(entry, ManifestEntry) else (entry.path, entry.reason)
        for entry in manifests.read_entries(place)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg,cat\nb.jpg,dog\n", [("a.jpg", "cat", ""), ("b.jpg", "dog", "")]),
        ("path,label\na.jpg,cat\n", [("a.jpg", "cat", "")]),
        ("Label,Image,Split\ncat,a.jpg,TEST\n", [("a.jpg", "cat", "TEST")]),
        ("id,label,path\n7,cat,a.jpg\n", [("a.jpg", "cat", "")]),
        ("file_name,class_name\na.jpg,cat\n", [("a.jpg", "cat", "")]),
        ("image_name,class_name,label,image_path\na,Tabby,cat,in/a.jpg\n", [("in/a.jpg", "cat", "")]),
        ("a.jpg,cat,train\nb.jpg,dog\n", [("a.jpg", "cat", "train"), ("b.jpg", "dog", "")]),
        ("TRAIN,gs://b/a.jpg,cat\n,b.jpg,dog\n", [("gs://b/a.jpg", "cat", "TRAIN"), ("b.jpg", "dog", "")]),
        (",gs://b/a.jpg,cat\n", [("gs://b/a.jpg", "cat", "")]),
        ("\ufeffa.jpg, cat \r\n\r\n  \r\nb.jpg,dog", [("a.jpg", "cat", ""), ("b.jpg", "dog", "")]),
        ('"a,b.jpg","say ""hi"""\n', [("a,b.jpg", 'say "hi"', "")]),
        ("a.jpg,猫\n", [("a.jpg", "猫", "")]),
    ],
)  # fmt: skip
def test_csv_in_all_its_forms(manifest, text, expected):
    assert entries(manifest(text)) == expected


def test_jsonl(manifest):
    text = '{"path": "a.jpg", "label": "cat", "split": "test"}\n\n{"label": 7, "path": "b.jpg"}\n'
    assert entries(manifest(text, "images.jsonl")) == [("a.jpg", "cat", "test"), ("b.jpg", "7", "")]


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("images.csv", "a.jpg", "no_label"),
        ("images.csv", "a.jpg,", "no_label"),
        ("images.csv", ",cat", "malformed_row"),
        ("images.csv", "a.jpg,ca\x07t", "malformed_row"),
        ("images.jsonl", '{"path": "a.jpg"}', "no_label"),
        ("images.jsonl", '{"path": "a.jpg", "label": ["cat", "dog"]}', "several_labels"),
        ("images.jsonl", '{"path": "a.jpg", "label": {"a": 1}}', "malformed_row"),
        ("images.jsonl", '{"path": "a.jpg", "label": true}', "malformed_row"),
        ("images.jsonl", '{"path": 5, "label": "cat"}', "malformed_row"),
        ("images.jsonl", '{"label": "cat"}', "malformed_row"),
        ("images.jsonl", '["a.jpg", "cat"]', "malformed_row"),
        ("images.jsonl", "{not json", "malformed_row"),
        ("images.jsonl", "[" * 100_000, "malformed_row"),
    ],
)
def test_rows_that_cannot_be_understood_are_quarantined(manifest, name, line, reason):
    good = "b.jpg,dog" if name.endswith("csv") else '{"path": "b.jpg", "label": "dog"}'
    found = entries(manifest(f"{good}\n{line}\n", name))
    assert found[0] == ("b.jpg", "dog", "")
    assert found[1][-1] == reason


def test_automl_rows_with_several_labels_are_quarantined(manifest):
    assert entries(manifest("TRAIN,a.jpg,cat\nTRAIN,b.jpg,cat,dog\n"))[1] == ("b.jpg", "several_labels")


def test_a_quarantined_row_without_path_is_named_by_its_line(manifest):
    place = manifest("a.jpg,cat\n,dog\n")
    assert entries(place)[1][0] == f"{place}:2"


def test_an_unknown_split_is_a_mistake_with_its_line(manifest):
    place = manifest("a.jpg,cat,train\nb.jpg,dog,holdout\n")
    with pytest.raises(UserError, match=r"images\.csv:2: no split called 'holdout'; use test, train, validation"):
        manifests.open_manifest(place, None, ())


def test_a_label_outside_the_list_is_a_mistake_with_its_line(manifest):
    place = manifest("a.jpg,cat\nb.jpg,dgo\n")
    with pytest.raises(UserError, match=r"images\.csv:2: label 'dgo' is not in --labels"):
        manifests.open_manifest(place, ("cat", "dog"), ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no images"),
        (b"path,label\n", "lists no images"),
        (b"a.jpg,k\xe4tzchen\n", "not UTF-8"),
        (b'a.jpg,"' + b"x" * 200_000, "is not a CSV file"),
    ],
)
def test_files_that_are_no_manifest(manifest, content, message):
    with pytest.raises(UserError, match=message):
        manifests.open_manifest(manifest(content), None, ())


def test_a_header_of_other_names_is_a_mistake_not_a_class(manifest):
    place = manifest("image_id,breed\na.jpg,cat\n")
    with pytest.raises(
        UserError, match=r"images\.csv:1: there is no image 'image_id'; .* lacks the columns path and la"
    ):
        manifests.open_manifest(place, None, ())


def test_two_spellings_of_one_class_are_a_mistake(manifest):
    with pytest.raises(UserError, match="two classes are called"):
        manifests.open_manifest(manifest("a.jpg,M\u00f6we\nb.jpg,Mo\u0308we\n"), None, ())


def test_a_first_image_without_suffix_is_no_header(manifest, tmp_path):
    (tmp_path / "scan1").touch()
    assert manifests.open_manifest(manifest("scan1,cat\nscan2,dog\n"), None, ()).class_names == ("cat", "dog")
    assert manifests.open_manifest(manifest("gs://b/scan,cat\n"), None, ()).class_names == ("cat",)


def test_json_that_is_not_a_line_for_each_image_says_what_to_write(tmp_path):
    (tmp_path / "images.json").write_text('[{"path": "a.jpg", "label": "cat"}]')
    with pytest.raises(UserError, match=r'lists no images; write lines of {"path": \.\.\., "label": \.\.\.}'):
        manifests.open_manifest(str(tmp_path / "images.json"), None, ())


def test_rows_carry_place_and_name(manifest, tmp_path):
    (tmp_path / "a.jpg").touch()
    source = manifests.open_manifest(manifest("a.jpg,cat,val\n/etc/passwd,cat\n"), None, ())
    row, refused = source.read(source.units[0])
    assert tuple(row) == (str(tmp_path / "a.jpg"), "a.jpg", "cat", "validation")
    assert isinstance(refused, QuarantinedRow)
    assert source.has_splits
