import pytest
import tensorflow as tf

from trainer import experiment
from trainer.config import ExperimentConfig
from trainer.model_directory import ModelRecord


@pytest.mark.parametrize(("settings", "batch_size"), [({"engine": "tf"}, 64), ({"tpu": "mock:6"}, 384)])
def test_a_machine_without_a_tpu_predicts_few_images_at_a_time(tmp_path, settings, batch_size):
    sizes = {"image_size": 8, "global_batch_size": 384, "eval_global_batch_size": 384}
    config = ExperimentConfig().replace(network="resnet8", precision="float32", **sizes, **settings)
    planned = experiment.Experiment(str(tmp_path), ModelRecord(config, ("cat", "dog"), "photos", "", 384))
    asked = []

    def input_fn(params):
        asked.append(params["batch_size"])
        return tf.data.Dataset.from_tensors({"image": tf.zeros([batch_size, 8, 8, 3], tf.uint8)})

    assert next(experiment.make_estimator(planned).predict(input_fn, "probabilities"))["probabilities"].shape == (2,)
    assert asked == [batch_size]
