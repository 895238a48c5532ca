import pytest

from preprocessing.paths import PathRules
from preprocessing.quarantine import Reason, RejectedError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "a.jpg").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.jpg").touch()
    (tmp_path / "images" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    (tmp_path / "images" / "linked_folder").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "images"


@pytest.mark.parametrize(
    "path",
    [
        "../elsewhere/secret.jpg",
        "cat/../../elsewhere/secret.jpg",
        "/etc/passwd",
        "link.jpg",
        "linked_folder/secret.jpg",
        "file:///etc/passwd",
        "http://169.254.169.254/computeMetadata/v1/",
        "s3://bucket/a.jpg",
        "gs://another-bucket/a.jpg",
        "gs://",
    ],
)
def test_places_outside_are_refused(root, path):
    with pytest.raises(RejectedError) as caught:
        PathRules.of(str(root)).resolve(path)
    assert caught.value.reason == Reason.PATH_NOT_ALLOWED


@pytest.mark.parametrize(
    "path",
    ["", "cat/a\0.jpg", "cat/a\n.jpg", "cat/" + "a" * 4096, "cat/\u202egpj.exe", "cat/\udcff.jpg", "cat/\u2028.jpg"],
)
def test_paths_that_hide_something_are_refused(root, path):
    with pytest.raises(RejectedError) as caught:
        PathRules.of(str(root)).resolve(path)
    assert caught.value.reason == Reason.PATH_MALFORMED


@pytest.mark.parametrize("path", ["cat/a.jpg", "./cat/a.jpg", "cat/../cat/a.jpg", "linked_inside/a.jpg"])
def test_places_inside_are_resolved(root, path):
    (root / "linked_inside").symlink_to(root / "cat")
    assert PathRules.of(str(root)).resolve(path) == str(root / "cat" / "a.jpg")


def test_names_of_other_scripts_are_fine(root):
    (root / "кошка 猫 خط\u200cآن.jpg").touch()
    assert PathRules.of(str(root)).resolve("кошка 猫 خط\u200cآن.jpg").startswith(str(root))


def test_an_allowed_prefix_opens_one_folder_and_no_sibling(root):
    sibling = root.parent / "elsewhere_too"
    sibling.mkdir()
    rules = PathRules.of(str(root), [str(root.parent / "elsewhere")])
    assert rules.resolve("link.jpg") == str(root.parent / "elsewhere" / "secret.jpg")
    with pytest.raises(RejectedError):
        rules.resolve(str(sibling / "a.jpg"))


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("cat/a.jpg", True),
        ("gs://bucket/elsewhere/a.jpg", True),
        ("gs://bucket2/a.jpg", False),
        ("gs://buck/a.jpg", False),
        ("gs://open/images/a.jpg", True),
        ("gs://open/images2/a.jpg", False),
        ("gs://bucket/../open/a.jpg", False),
    ],
)
def test_objects_lie_in_the_bucket_of_the_input_or_under_a_prefix(path, is_allowed):
    rules = PathRules.of("gs://bucket/images", ["gs://open/images"])
    if is_allowed:
        assert rules.resolve(path).startswith("gs://")
    else:
        with pytest.raises(RejectedError):
            rules.resolve(path)


def test_names_are_relative_to_the_root(root):
    rules = PathRules.of(str(root))
    assert rules.name(str(root / "cat" / "a.jpg")) == "cat/a.jpg"
    assert rules.name("/other/a.jpg") == "/other/a.jpg"
