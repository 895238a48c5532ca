import pytest

from preprocessing.curation.drops import DROPPABLE, DropRules
from preprocessing.curation.issues import KINDS, Finding, ImageReference, Issue
from preprocessing.errors import UserError

IMAGE = ImageReference("/in/a.jpg", "a.jpg", "cat", "train")


def finding(issue: Issue) -> Finding:
    return Finding(issue, IMAGE, "why")


def test_nothing_is_dropped_unless_asked_for():
    assert DropRules().reason([finding(issue) for issue in Issue]) is None


def test_drops_for_what_is_asked_for():
    rules = DropRules.parse("dark, exact_duplicates")
    assert rules.reason([finding(Issue.BLURRY), finding(Issue.DARK)]) == finding(Issue.DARK)
    assert rules.reason([finding(Issue.BLURRY)]) is None
    assert rules.reason([]) is None


def test_one_reason_of_several_whatever_their_order():
    both = [finding(Issue.DARK), finding(Issue.LABEL_CONFLICTS)]
    rules = DropRules.parse("dark,label_conflicts")
    assert rules.reason(both) == rules.reason(both[::-1]) == finding(Issue.LABEL_CONFLICTS)


@pytest.mark.parametrize("text", ["darkk", "dark,unreadable", "class_imbalance", "exact duplicates"])
def test_what_cannot_be_dropped(text):
    with pytest.raises(UserError, match="--drop: cannot drop"):
        DropRules.parse(text)


def test_a_misspelt_issue():
    with pytest.raises(UserError, match="did you mean near_duplicates"):
        DropRules.parse("near_duplicate")


def test_issues_without_an_image_cannot_be_dropped():
    with pytest.raises(ValueError, match="class_imbalance"):
        DropRules(frozenset({Issue.CLASS_IMBALANCE}))


def test_every_issue_is_described():
    assert set(KINDS) == set(Issue)
    assert set(DROPPABLE) < set(Issue)
