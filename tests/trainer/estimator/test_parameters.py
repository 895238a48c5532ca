import pytest

from trainer.estimator import parameters


class HParams:
    """As TensorFlow 1 had them."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __contains__(self, name):
        return name in self.__dict__

    def set_hparam(self, name, value):
        assert name in self
        setattr(self, name, value)

    def add_hparam(self, name, value):
        assert name not in self
        setattr(self, name, value)


def test_additions_go_into_a_copy():
    params = {"rate": 1}
    assert parameters.injected(params, batch_size=8, context=None) == {"rate": 1, "batch_size": 8}
    assert params == {"rate": 1}
    assert parameters.injected(None, use_tpu=False) == {"use_tpu": False}


def test_hparams_are_extended_their_way():
    params = HParams(rate=1, use_tpu=True)
    injected = parameters.injected(params, batch_size=8, use_tpu=False)
    assert (injected.batch_size, injected.use_tpu, injected.rate) == (8, False, 1)
    assert "batch_size" not in params


@pytest.mark.parametrize("name", ["batch_size", "context"])
def test_reserved_keys_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} are reserved keys"):
        parameters.check({name: 1})


def test_use_tpu_is_not_reserved():
    parameters.check({"use_tpu": True})
