import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tensorflow as tf

from trainer.engine import pjrt_step, stablehlo, topology
from trainer.errors import UserError
from trainer.preflight import compile_worker, compiler

ROOT = pathlib.Path(compiler.__file__).parents[2]
INTERFACE = pjrt_step.StepInterface(num_batch_inputs=1, is_per_replica=(False,))


def step_program(num_rows: int = 256, num_columns: int = 512, num_replicas: int = 1) -> compiler.StepToCompile:
    weight = tf.Variable(tf.zeros([num_columns, num_columns]), name="weight")

    @tf.function(jit_compile=True, autograph=False)
    def step(batch):
        with tf.name_scope("dense"):
            product = batch @ weight
        weight.assign_add(tf.matmul(batch, product, transpose_a=True))
        return tf.reduce_sum(product)

    function = step.get_concrete_function(tf.TensorSpec([num_rows, num_columns]))
    program = stablehlo.prepare(stablehlo.lower(function))
    return compiler.StepToCompile(program, INTERFACE, num_replicas)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_replicas"), [("v5e", 1), ("v3", 1), ("v3", 2)])
def test_compile_says_what_the_step_needs(tmp_path, name, num_replicas):
    """A chip of v3 has two devices; a step can be compiled for one of them, or for both."""
    seconds = []
    step = step_program(num_replicas=num_replicas)
    compiled = compiler.TpuCompiler(tmp_path, progress=seconds.append).compile(step, topology.parse(name))
    assert seconds == sorted(seconds)
    assert seconds
    matmul_flops = 2 * 2 * 256 * 512 * 512
    assert compiled.figures.flops == pytest.approx(matmul_flops, rel=0.05)
    weight_bytes, batch_bytes = 4 * 512 * 512, 4 * 256 * 512
    assert compiled.figures.argument_bytes == weight_bytes + batch_bytes
    assert compiled.figures.alias_bytes == weight_bytes, "the weight is updated in place"
    assert compiled.hbm_traffic_bytes >= 2 * weight_bytes + batch_bytes
    assert any("dense" in item.op_name for item in compiled.traffic)


@pytest.mark.slow
def test_a_compilation_is_remembered(tmp_path, monkeypatch):
    own_package = tmp_path / "project" / "trainer" / "preflight"
    own_package.mkdir(parents=True)
    (own_package / "__init__.py").write_text("raise RuntimeError('the program has a package of that name, too')")
    monkeypatch.chdir(tmp_path / "project")
    cache_dir = tmp_path / "cache"
    tpu_compiler = compiler.TpuCompiler(cache_dir)
    first = tpu_compiler.compile(step_program(), topology.parse("v5e"))
    again = tpu_compiler.compile(step_program(), topology.parse("v5e"))
    assert (first.is_from_cache, again.is_from_cache) == (False, True)
    assert (first.figures, first.traffic) == (again.figures, again.traffic)
    (entry,) = cache_dir.iterdir()
    assert set(json.loads(entry.read_text())) == {"figures", "traffic"}
    entry.write_text(entry.read_text()[:100])
    anew = tpu_compiler.compile(step_program(), topology.parse("v5e"))
    assert (anew.is_from_cache, anew.traffic) == (False, first.traffic)


CALLER = """
import pathlib, sys
from trainer.engine import topology
from trainer.preflight import compiler
from tests.trainer.preflight.test_compiler import step_program
start = lambda secs: print("compiling", flush=True)
compiler.TpuCompiler(pathlib.Path(sys.argv[1]), progress=start).compile(step_program(), topology.parse("v5e"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_compiler_outlives_its_caller(tmp_path, signal_number):
    command = [sys.executable, "-c", CALLER, str(tmp_path / "cache")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
        assert caller.stdout.readline() == b"compiling\n"
        (worker,) = pathlib.Path(f"/proc/{caller.pid}/task/{caller.pid}/children").read_text().split()
        while b"compile_worker" not in pathlib.Path(f"/proc/{worker}/cmdline").read_bytes():
            time.sleep(0.01)
        caller.send_signal(signal_number)
    deadline_secs = time.monotonic() + 60
    while is_running(worker) and time.monotonic() < deadline_secs:
        time.sleep(0.1)
    assert not is_running(worker)
    assert not list(tmp_path.rglob(compile_worker.RESULT_FILE)), "it went on"


@pytest.mark.slow
def test_the_compiler_runs_in_the_package_of_its_caller(tmp_path):
    """It may be that of a checkout which is not installed, though another one is."""
    for package in ("preprocessing", "trainer"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    worker = tmp_path / "trainer" / "preflight" / "compile_worker.py"
    worker.write_text("if __name__ == '__main__':\n    raise SystemExit('the checkout')\n" + worker.read_text())
    command = [sys.executable, "-c", CALLER, str(tmp_path / "cache")]
    caller = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "v5e:1x1: the TPU compiler stopped with status 1 (the checkout)" in caller.stderr


def is_running(process_id: str) -> bool:
    try:
        return pathlib.Path(f"/proc/{process_id}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_step_that_does_not_fit_is_told_so(tmp_path):
    seconds = []
    tpu_compiler = compiler.TpuCompiler(tmp_path, progress=seconds.append)
    for is_first in (True, False):
        with pytest.raises(compiler.DoesNotFitError, match=r"v5e:1x1: .*HBM.*smaller batch"):
            tpu_compiler.compile(step_program(num_rows=4_000_000, num_columns=2048), topology.parse("v5e"))
        assert bool(seconds) == is_first, "the misfit is remembered"
        seconds.clear()


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: XLA:TPU compile permanent error. Ran out of memory in "
            "memory space hbm. Used 15.80G of 15.75G hbm. Exceeded hbm capacity by 52.98M.\n\nTotal hbm",
            "program and arguments need 15.80GiB of HBM, a device has 15.75GiB",
        ),
        (
            "RESOURCE_EXHAUSTED: total memory required for parameters (30.5G) exceeds available HBM (15.75G).",
            "parameters need 30.5GiB of HBM, a device has 15.75GiB",
        ),
    ],
)
def test_the_compilers_words_for_too_much_memory(message, told):
    """The first was printed for a ResNet-50 with 1,336 images, which nearly fits, by libtpu 0.0.52."""
    assert compiler._misfit(message, topology.parse("v5e")) == f"does not fit: {told}"


def test_of_a_compiler_that_crashes_the_failed_check_is_told():
    """Printed for v5e:16x32 by libtpu 0.0.52, which then reports the crash at length."""
    log = (
        "I1127 21:23:52.5 22701 target.cc:1] something else\n"
        "F1127 21:23:52.655981   22701 target.cc:1468] Check failed: Topology()->chip_bounds().y <= 16 (32 vs. 16) \n"
        "E1127 21:23:52.811794   22701 process_state.cc:796] RAW: Raising signal 6 with default behavior\n"
    )
    assert compiler._last_words(log) == "Check failed: Topology()->chip_bounds().y <= 16 (32 vs. 16)"
    assert compiler._last_words("Traceback: no such module\n") == "Traceback: no such module"


def test_a_compiler_that_wrote_no_program_down_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="did not write down"):
        compile_worker.scheduled_program(tmp_path)


@pytest.mark.slow
def test_a_program_that_the_compiler_refuses_is_a_user_error(tmp_path):
    exported = jax.export.export(jax.jit(lambda x: jax.numpy.linalg.eig(x)[0]), platforms=["cpu"])(
        jax.ShapeDtypeStruct((4, 4), np.float32)
    )
    program = stablehlo.read(exported.mlir_module_serialized)
    step = compiler.StepToCompile(program, INTERFACE, num_replicas=1)
    with pytest.raises(UserError, match="v5e:1x1: the TPU compiler refuses the program"):
        compiler.TpuCompiler(tmp_path).compile(step, topology.parse("v5e"))


STORED = {
    "figures": dict.fromkeys((field.name for field in dataclasses.fields(compile_worker.CompilerFigures)), 7),
    "traffic": [{"name": "dot.1", "opcode": "dot", "op_name": "dense", "read_bytes": 8, "written_bytes": 2}],
}


def test_what_was_written_is_read_and_nothing_else_is_left(tmp_path):
    entry = tmp_path / "new" / "entry.json"
    assert compiler._remembered(entry) is None
    compiler._remember(entry, STORED)
    remembered = compiler._remembered(entry)
    assert (remembered.figures.flops, remembered.hbm_traffic_bytes, remembered.is_from_cache) == (7, 10, True)
    assert list(entry.parent.iterdir()) == [entry]


@pytest.mark.parametrize("content", ["", '{"figures": {"comp', '{"figures": {"flops": 1.0}, "traffic": []}', "[]"])
def test_a_damaged_entry_counts_as_none(tmp_path, content, caplog):
    entry = tmp_path / "entry.json"
    entry.write_text(content)
    assert compiler._remembered(entry) is None
    assert f"{entry} cannot be read" in caplog.text


def test_a_place_that_cannot_be_written_costs_the_memory_alone(tmp_path, caplog):
    (tmp_path / "file").touch()
    compiler._remember(tmp_path / "file" / "cache" / "entry.json", STORED)
    assert compiler._remembered(tmp_path / "file" / "cache" / "entry.json") is None
    assert "not remembered" in caplog.text
