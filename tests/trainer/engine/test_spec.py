import dataclasses

import pytest
import tensorflow as tf

from trainer.engine import spec
from trainer.engine.spec import EstimatorSpec, ModeKeys, TPUEstimatorSpec

LOSS = tf.constant(1.0)
v1 = tf.compat.v1


@pytest.mark.parametrize("spec_class", [EstimatorSpec, TPUEstimatorSpec])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "training"}, "mode must be one of train, eval, infer"),
        ({"mode": ModeKeys.TRAIN, "loss": LOSS}, "Missing train_op"),
        ({"mode": ModeKeys.TRAIN, "train_op": LOSS}, "Missing loss"),
        ({"mode": ModeKeys.EVAL}, "Missing loss"),
        ({"mode": ModeKeys.PREDICT}, "Missing predictions"),
        ({"mode": ModeKeys.EVAL, "loss": tf.zeros([2])}, r"Loss must be scalar, got shape \(2,\)"),
    ],
)
def test_a_spec_without_what_its_mode_needs_is_refused(spec_class, fields, message):
    with pytest.raises(ValueError, match=message):
        spec_class(**fields)


@pytest.mark.parametrize("spec_class", [EstimatorSpec, TPUEstimatorSpec])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": 1.0}, "loss must be a tensor"),
        ({"train_op": "minimize"}, "train_op must be an operation"),
        ({"training_hooks": [object()]}, "must be SessionRunHook instances, given in training_hooks"),
        ({"evaluation_hooks": [object()]}, "given in evaluation_hooks"),
        ({"prediction_hooks": [object()]}, "given in prediction_hooks"),
        ({"export_outputs": [LOSS]}, "export_outputs must be a mapping"),
        ({"predictions": [LOSS]}, "predictions must be a tensor, got list; name several"),
        ({"predictions": {"a": {"b": LOSS}}}, r"predictions\['a'\] must be a tensor, got dict"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(spec_class, fields, message):
    with pytest.raises(TypeError, match=message):
        spec_class(**{"mode": ModeKeys.TRAIN, "loss": LOSS, "train_op": LOSS, **fields})


def test_what_wrappers_of_a_model_fn_add_to_is_there():
    made = EstimatorSpec(ModeKeys.EVAL, loss=LOSS)
    assert (made.predictions, made.eval_metric_ops) == ({}, {})


@pytest.mark.parametrize("spec_class", [EstimatorSpec, TPUEstimatorSpec])
def test_a_spec_may_be_taken_apart_and_put_together(spec_class):
    made = spec_class(ModeKeys.TRAIN, loss=LOSS, train_op=LOSS)
    assert spec_class(**made._asdict()) == made


def test_a_scaffold_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="scaffold must be"):
        EstimatorSpec(ModeKeys.EVAL, loss=LOSS, scaffold=v1.train.Saver)


@pytest.mark.parametrize("field", ["eval_metrics", "host_call"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: {}, "must be a pair"),
        ((lambda: {}, LOSS), "wrap a single tensor in a list"),
        ((lambda one, two: {}, [LOSS]), "gives 1 tensors, which does not match"),
        ((lambda one: {}, {"other": LOSS}), "gives tensors named"),
    ],
)
def test_host_functions_are_checked_when_the_spec_is_made(field, value, message):
    with pytest.raises(ValueError, match=message):
        TPUEstimatorSpec(mode=ModeKeys.EVAL, loss=LOSS, **{field: value})


def test_a_loss_of_one_element_becomes_a_scalar():
    assert TPUEstimatorSpec(mode=ModeKeys.EVAL, loss=tf.ones([1])).loss.shape.rank == 0


def test_specs_are_values():
    made = TPUEstimatorSpec(mode=ModeKeys.EVAL, loss=LOSS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.loss = None
    assert made._replace(predictions={"x": LOSS}).predictions == {"x": LOSS}
    assert made.predictions is None


def test_scalars_must_be_scalars():
    with pytest.raises(ValueError, match=r"scalars\['rate'\] must be a scalar"):
        TPUEstimatorSpec(mode=ModeKeys.TRAIN, loss=LOSS, train_op=LOSS, scalars={"rate": tf.zeros([1])})


def test_as_estimator_spec_calls_the_host_functions():
    scaffold = tf.compat.v1.train.Scaffold()
    made = TPUEstimatorSpec(
        mode=ModeKeys.EVAL,
        loss=LOSS,
        eval_metrics=(lambda total: {"sum": (total, total)}, {"total": LOSS}),
        scaffold_fn=lambda: scaffold,
    ).as_estimator_spec()
    assert made.eval_metric_ops == {"sum": (LOSS, LOSS)}
    assert made.scaffold is scaffold


@pytest.mark.parametrize("tensors", [[1, 2], {"one": 1, "two": 2}])
def test_call_host_function_takes_sequences_and_mappings(tensors):
    assert spec.call_host_function((lambda one, two: (one, two), tensors)) == (1, 2)
