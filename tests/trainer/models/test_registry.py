import dataclasses

import pytest

from trainer.config import ModelConfig
from trainer.errors import UserError
from trainer.models import registry

# Published counts: torchvision for the large networks. The small ones are the paper's "0.27 M" and so on, plus 2,752
# for two projections where the paper pads with zeros.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722 + 2_752,
    "resnet56": 853_018 + 2_752,
    "resnet18_small": 11_173_962,
}
# Multiply-adds of one image, as torchvision's documentation gives them.
GIGA_MULTIPLY_ADDS = {"resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80, "resnet152": 11.51}


@pytest.fixture(scope="module", name="table")
def fixture_table():
    return {row.name: row for row in registry.table()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters_are_those_published(table, name, count):
    assert table[name].num_parameters == count


@pytest.mark.slow
@pytest.mark.parametrize(("name", "giga_multiply_adds"), GIGA_MULTIPLY_ADDS.items())
def test_flops_are_those_published(table, name, giga_multiply_adds):
    assert table[name].gflops == pytest.approx(2 * giga_multiply_adds, rel=0.01)


@pytest.mark.slow
def test_depths_are_those_of_the_names(table):
    for name, row in table.items():
        if row.family == "resnet":
            assert str(row.depth) == name.removeprefix("resnet").partition("_")[0]


def test_one_class_is_nothing_to_learn():
    with pytest.raises(UserError, match="one class only"):
        registry.build(ModelConfig(network="resnet8"), num_classes=1)


def test_names_are_unique():
    names = [entry.name for entry in registry.ENTRIES]
    assert len(names) == len(set(names))


def test_an_unknown_network_is_an_error_with_the_nearest_name():
    with pytest.raises(UserError, match=r"--network=resnet_50: no such network; did you mean resnet50\?"):
        registry.build(ModelConfig(network="resnet_50"), 10)


def test_a_name_like_no_other_lists_all():
    with pytest.raises(UserError, match="one of resnet18, resnet34, resnet50"):
        registry.entry("xyz")


@pytest.mark.parametrize(
    ("network", "settings", "unused"),
    [
        ("resnet20", {"resnet_d_stem": True}, "--resnet_d_stem=True"),
        ("resnet20", {"space_to_depth_stem": True}, "--space_to_depth_stem=True"),
        ("resnet50", {"space_to_depth_stem": True, "resnet_d_stem": True}, "--space_to_depth_stem=True"),
        ("resnet50", {"dropblock_size": 5}, "--dropblock_size=5"),
        ("resnet50", {"dropblock_groups": (1,)}, r"--dropblock_groups=\(1,\)"),
    ],
)
def test_a_setting_without_effect_is_an_error(network, settings, unused):
    with pytest.raises(UserError, match=f"{unused}: has no effect on {network}"):
        registry.build(ModelConfig(network=network, **settings), 10)


def test_a_switch_that_is_off_asks_for_nothing():
    settings = ModelConfig(network="resnet20", space_to_depth_stem=False, batch_norm_from_inputs=False)
    registry.check_settings(registry.entry("resnet20"), settings)


def test_dropblock_groups_must_exist():
    config = ModelConfig(network="resnet20", dropblock_keep_prob=0.9, dropblock_groups=(4,))
    with pytest.raises(UserError, match="--dropblock_groups=4: resnet20 has 3 groups"):
        registry.build(config, 10)


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
def test_unused_settings_are_settings(entry):
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    assert entry.unused_settings(ModelConfig(network=entry.name)) <= names
