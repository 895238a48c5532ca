import pytest

from trainer import presets
from trainer.errors import UserError


@pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.name)
def test_every_preset_is_a_valid_configuration_that_says_what_to_expect(preset):
    assert preset.config.flat().items() >= preset.settings.items()
    assert preset.command.endswith(f"--preset={preset.name}")
    assert any(word in preset.expected for word in ("measured by", "published", "not run here"))


def test_names_are_unique():
    names = [preset.name for preset in presets.PRESETS]
    assert len(names) == len(set(names))


def test_a_misspelt_name_gets_the_nearest_one():
    with pytest.raises(UserError, match=r"--preset=digit: no such preset; did you mean digits\?"):
        presets.get("digit")
