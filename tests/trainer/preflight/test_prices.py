import pytest

from trainer.engine import topology
from trainer.errors import UserError
from trainer.preflight import prices


def test_every_tpu_type_has_a_price():
    assert set(prices.read()) >= set(topology.TPU_TYPES)


def test_a_table_of_ones_own(tmp_path):
    table = tmp_path / "prices.toml"
    table.write_text("[tpu_chip_hour]\nv5e = 2\n")
    assert prices.read(str(table)) == {"v5e": 2.0}


@pytest.mark.parametrize("text", ["v5e = 2", "[tpu_chip_hour", "[tpu_chip_hour]\nv5e = 'cheap'", "tpu_chip_hour = 3"])
def test_a_file_that_is_no_table(tmp_path, text):
    table = tmp_path / "prices.toml"
    table.write_text(text)
    with pytest.raises(UserError, match=rf"{table}: no table of prices.*\[tpu_chip_hour\]"):
        prices.read(str(table))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v5e = -1", "v5e = -1 is no price"),
        ("v5e = nan", "v5e = nan is no price"),
        ("v5E = 1", "no such TPU type: v5E; known types: v2, "),
    ],
)
def test_a_price_that_is_none(tmp_path, line, message):
    table = tmp_path / "prices.toml"
    table.write_text(f"[tpu_chip_hour]\n{line}\n")
    with pytest.raises(UserError, match=message):
        prices.read(str(table))


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no table of prices"):
        prices.read(str(tmp_path / "missing.toml"))
