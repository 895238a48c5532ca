import collections

import pytest

from preprocessing import split
from preprocessing.errors import UserError
from preprocessing.split import SplitFractions


def test_parses_names_and_fractions():
    assert SplitFractions.parse(" train:0.75, test:0.25").fractions == (("train", 0.75), ("test", 0.25))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:0.8,tst:0.2", "did you mean test"),
        ("train:0.8,test:0.1", "add up to 0.9"),
        ("train:0.5,train:0.5", "twice"),
        ("train:1.5,test:-0.5", "negative"),
        ("train:nan,test:1", "no number"),
        ("train", "has no fraction"),
        ("train:much", "cannot read"),
        ("", "has no fraction"),
    ],
)
def test_refuses_what_makes_no_sense(text, message):
    with pytest.raises(UserError, match=message):
        SplitFractions.parse(text)


def test_shares_are_as_asked_for():
    fractions = SplitFractions.parse("train:0.8,validation:0.1,test:0.1")
    counts = collections.Counter(fractions.choose(f"image {index}", seed=0) for index in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_split_of_fraction_zero_stays_empty():
    fractions = SplitFractions.parse("train:1.0,test:0")
    assert {fractions.choose(str(index), seed=0) for index in range(5_000)} == {"train"}


def test_the_seed_changes_the_split_and_nothing_else_does():
    fractions = SplitFractions()
    ids = [str(index) for index in range(1_000)]
    first = [fractions.choose(group, seed=1) for group in ids]
    assert first == [fractions.choose(group, seed=1) for group in ids]
    assert first != [fractions.choose(group, seed=2) for group in ids]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("TRAIN", "train"),
        ("Validation", "validation"),
        ("val", "validation"),
        (" test ", "test"),
        ("UNASSIGNED", ""),
        ("", ""),
        ("holdout", None),
    ],
)
def test_words_for_splits(word, expected):
    assert split.from_word(word) == expected
