import pytest

from trainer.config import ExperimentConfig, OptimizerConfig
from trainer.models import recipe
from trainer.nn.mixing import Mixing
from trainer.nn.optimizers import LARS, SGD, AdamW


def test_the_learning_rate_scales_with_the_batch_and_counts_in_epochs():
    config = ExperimentConfig().replace(
        global_batch_size=512,
        base_learning_rate=0.1,
        warmup_epochs=2.0,
        schedule="stepwise",
        decay_epochs=(4.0,),
        decay_factor=0.5,
    )
    schedule = recipe.schedule(config, steps_per_epoch=10.0)
    assert [float(schedule(step)) for step in (9, 19, 39, 40)] == pytest.approx([0.1, 0.2, 0.2, 0.1])


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("lars", LARS), ("adamw", AdamW)])
def test_each_optimizer_is_built(name, kind):
    assert isinstance(recipe.optimizer(OptimizerConfig(optimizer=name)), kind)


def test_mixing_is_off_by_default():
    assert recipe.mixing(OptimizerConfig()) is None
    assert recipe.mixing(OptimizerConfig(cutmix_alpha=1.0)) == Mixing(0.0, 1.0)
