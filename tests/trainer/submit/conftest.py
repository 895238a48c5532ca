import pytest

from trainer.submit import calls


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Tries follow one another as they do in earnest, only sooner."""
    monkeypatch.setattr(calls, "FIRST_DELAY_SECS", 0.01)
