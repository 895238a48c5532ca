import re

import pytest
import tensorflow as tf

from trainer import accelerators, experiment
from trainer.config import ExperimentConfig
from trainer.data import records
from trainer.errors import UserError
from trainer.model_directory import ModelRecord

SIZES = {"image_size": 8, "global_batch_size": 384, "eval_global_batch_size": 384}


@pytest.mark.parametrize(("settings", "batch_size"), [({"engine": "tf"}, 64), ({"tpu": "mock:6"}, 384)])
def test_a_machine_without_a_tpu_predicts_few_images_at_a_time(tmp_path, settings, batch_size):
    config = ExperimentConfig().replace(network="resnet8", precision="float32", **SIZES, **settings)
    planned = experiment.Experiment(str(tmp_path), ModelRecord(config, ("cat", "dog"), "photos", "", 384))
    asked = []

    def input_fn(params):
        asked.append(params["batch_size"])
        return tf.data.Dataset.from_tensors({"image": tf.zeros([batch_size, 8, 8, 3], tf.uint8)})

    assert next(experiment.make_estimator(planned).predict(input_fn, "probabilities"))["probabilities"].shape == (2,)
    assert asked == [batch_size]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"engine": "tf"}, r"engine: tf, 1 x [CG]PU, as --engine=tf asks"),
        ({"tpu": "mock:2"}, r"engine: pjrt, 2 x cpu \(cpu\), as --tpu=mock:2 asks"),
    ],
)
def test_what_was_found_and_what_was_chosen_is_one_line(tmp_path, settings, line):
    config = ExperimentConfig().replace(network="resnet8", **SIZES, **settings)
    announced = []
    planned = experiment.Experiment(str(tmp_path), ModelRecord(config, ("cat", "dog"), "photos", "", 384))
    experiment.make_estimator(planned, announced.append)
    (found,) = announced
    assert re.fullmatch(line, found)


@pytest.mark.skipif(accelerators.found() is not None, reason="needs a machine without a TPU")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tpu": "local"}, "--tpu=local: JAX finds no TPU on this machine"),
        ({"engine": "pjrt"}, "Cannot find any TPU cores"),
        ({"engine": "tf", "tpu": "local"}, "--engine=tf --tpu=local: the tf engine cannot run on a TPU"),
    ],
)
def test_devices_that_are_not_here_are_told_before_anything_is_written(make_dataset, tmp_path, settings, message):
    dataset = records.open_dataset(str(make_dataset({"train": 8, "validation": 4})))
    sizes = {"image_size": 8, "global_batch_size": 4, "eval_global_batch_size": 4}
    config = ExperimentConfig().replace(network="resnet8", **sizes, **settings)
    planned = experiment.plan(dataset, str(tmp_path / "model"), config)
    with pytest.raises(UserError, match=message):
        experiment.train_and_evaluate(planned, dataset)
    assert not (tmp_path / "model").exists()
