import pytest

from trainer import accelerators
from trainer.config import LoopConfig
from trainer.errors import UserError


@pytest.mark.parametrize(
    ("settings", "use_tpu", "master"),
    [
        ({"engine": "tf"}, False, ""),
        ({"engine": "pjrt"}, True, ""),
        ({"tpu": "mock:8"}, True, "mock:8"),
        ({"engine": "pjrt", "tpu": "local"}, True, "local"),
    ],
)
def test_what_is_asked_for_is_chosen(settings, use_tpu, master):
    choice = accelerators.choose(LoopConfig(**settings))
    assert (choice.use_tpu, choice.master) == (use_tpu, master)


def test_auto_says_what_it_found():
    choice = accelerators.choose(LoopConfig())
    assert choice.use_tpu is (accelerators.found() is not None)
    assert str(choice).startswith("engine: ")


def test_the_tf_engine_on_a_tpu_is_refused():
    with pytest.raises(UserError, match="--engine=tf --tpu=local: the tf engine cannot run on a TPU"):
        accelerators.choose(LoopConfig(engine="tf", tpu="local"))
