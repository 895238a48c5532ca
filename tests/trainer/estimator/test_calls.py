import functools

import pytest

from trainer.estimator import calls


def test_a_function_gets_what_it_takes():
    assert calls.with_accepted(lambda b, a: (a, b), {"a": 1, "b": 2, "c": 3}) == (1, 2)
    assert calls.with_accepted(functools.partial(lambda a, b: (a, b), 0), {"b": 2}) == (0, 2)


class CallableInput:
    def __call__(self, params):
        return params


def test_a_callable_object_is_a_function():
    assert calls.with_accepted(CallableInput(), {"params": 1, "mode": 2}) == 1


@pytest.mark.parametrize(
    ("model_fn", "params", "message"),
    [
        (lambda labels: None, None, "must include features argument"),
        (lambda features: None, {"a": 1}, "does not include params argument"),
        (lambda features, extra: None, None, r"not expected args: \['extra'\]"),
    ],
)
def test_a_model_fn_with_a_wrong_signature_is_refused(model_fn, params, message):
    with pytest.raises(ValueError, match=message):
        calls.check_model_fn(model_fn, params)


def test_labels_need_an_argument():
    with pytest.raises(ValueError, match="model_fn does not take labels, but input_fn returns labels"):
        calls.model_fn(lambda features: None, 1, 2, "train")
    assert calls.model_fn(lambda features: features, 1, None, "train") == 1


def test_a_model_fn_gets_its_arguments_by_name():
    assert calls.model_fn(
        lambda config, mode, labels, features: (features, labels, mode, config), 1, 2, "m", config=3
    ) == (
        1,
        2,
        "m",
        3,
    )


def test_a_model_fn_without_parameters_gets_none_by_name():
    def model_fn(features, params):
        return features, params

    assert calls.model_fn(model_fn, 1, None, "train") == (1, {})
    assert calls.model_fn(model_fn, 1, None, "train", params={"a": 2}) == (1, {"a": 2})


def test_a_model_fn_that_takes_anything_gets_its_parameters():
    def model_fn(features, **others):
        return features, others

    assert calls.model_fn(model_fn, 1, None, "train") == (1, {})
    assert calls.model_fn(model_fn, 1, None, "train", params={"a": 2}) == (1, {"params": {"a": 2}})
