import pytest

from trainer import accelerators
from trainer.config import LoopConfig
from trainer.errors import UserError


@pytest.mark.parametrize(
    ("settings", "use_tpu", "master", "described"),
    [
        ({"engine": "tf"}, False, "", "engine: tf, 2 x it, as --engine=tf asks"),
        ({"engine": "pjrt"}, True, "", "engine: pjrt, 2 x it, as --engine=pjrt asks"),
        ({"tpu": "mock:8"}, True, "mock:8", "engine: pjrt, 2 x it, as --tpu=mock:8 asks"),
        ({"engine": "pjrt", "tpu": "local"}, True, "local", "engine: pjrt, 2 x it, as --tpu=local asks"),
    ],
)
def test_what_is_asked_for_is_chosen(settings, use_tpu, master, described):
    choice = accelerators.choose(LoopConfig(**settings))
    assert (choice.use_tpu, choice.master, choice.describe("2 x it")) == (use_tpu, master, described)


def test_auto_says_what_it_found():
    choice = accelerators.choose(LoopConfig())
    assert choice.use_tpu is (accelerators.found() is not None)
    assert choice.describe("1 x it").startswith("engine: ")


def test_the_tf_engine_on_a_tpu_is_refused():
    with pytest.raises(UserError, match="--engine=tf --tpu=local: the tf engine cannot run on a TPU"):
        accelerators.choose(LoopConfig(engine="tf", tpu="local"))
