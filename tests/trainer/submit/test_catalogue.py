import shutil

import pytest
from google.cloud import aiplatform_v1

from trainer.errors import UserError
from trainer.submit import catalogue, hardware

TABLES = catalogue.load()


def test_a_corrected_table_takes_the_place_of_ours(tmp_path):
    text = (catalogue.TABLES_DIRECTORY / "prices.toml").read_text()
    (tmp_path / "prices.toml").write_text(text.replace("v5e = 1.20", "v5e = 2.40", 1))
    corrected = catalogue.load(str(tmp_path))
    assert corrected.prices.tpu_chip_hour["v5e"] == 2.40
    assert corrected.tpus == TABLES.tpus


def test_a_region_that_was_added_is_accepted(tmp_path):
    shutil.copy(catalogue.TABLES_DIRECTORY / "tpus.toml", tmp_path)
    path = tmp_path / "tpus.toml"
    path.write_text(path.read_text().replace('regions = ["us-central1", "us-south1"', 'regions = ["mars-north1"'))
    machine = hardware.vertex_tpu(catalogue.load(str(tmp_path)), "v5e:2x4", region="mars-north1")
    assert machine.location == "mars-north1"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tpus.toml", "[v5e"),
        ("tpus.toml", "[v5e]\nchips = 4"),
        ("tpus.toml", "v5e = 3"),
        ("machines.toml", "regions = []"),
        ("prices.toml", "as_of = 'today'"),
    ],
)
def test_a_table_of_another_form_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as refusal:
        catalogue.load(str(tmp_path))
    assert str(refusal.value).startswith(f"{tmp_path / name}: not such a table")


def test_a_directory_without_tables_is_refused(tmp_path):
    with pytest.raises(UserError, match="has none of tpus"):
        catalogue.load(str(tmp_path))


def test_names_of_accelerators_are_those_of_the_real_client():
    known = set(aiplatform_v1.AcceleratorType.__members__)
    tpus = {tpu.vertex.accelerator_type for tpu in TABLES.tpus.values() if tpu.vertex} - {""}
    gpus = {gpu for gpus in TABLES.machines.values() for gpu in gpus}
    assert tpus | gpus <= known
    assert gpus == set(TABLES.gpu_regions)


@pytest.mark.parametrize("name", TABLES.tpus)
def test_every_generation_has_a_price_and_readable_topologies(name):
    assert TABLES.prices.tpu_chip_hour[name] > 0
    generation = TABLES.tpus[name]
    machines = generation.vertex.machines.values() if generation.vertex else ()
    topologies = [topology for machine in machines for topology in machine.topologies]
    topologies += generation.tpu_vm.topologies if generation.tpu_vm else []
    assert topologies
    assert all(catalogue.num_chips(topology) >= 1 for topology in topologies)
