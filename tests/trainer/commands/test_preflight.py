import json
import sys

import pytest

from trainer.commands import preflight
from trainer.errors import UserError

MODULE = """
import tensorflow as tf
from trainer.engine.spec import TPUEstimatorSpec

def model_fn(features, labels, mode, params):
    logits = features @ tf.compat.v1.get_variable("kernel", [64, params["num_classes"]])
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if params.get("prints"):
        loss += tf.numpy_function(lambda value: value, [loss], tf.float32)
    optimizer = tf.compat.v1.tpu.CrossShardOptimizer(tf.compat.v1.train.GradientDescentOptimizer(0.1))
    return TPUEstimatorSpec(mode, loss=loss, train_op=optimizer.minimize(loss, tf.compat.v1.train.get_global_step()))
"""


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return [
        "--module=own_model:model_fn",
        "--features=float32[64]",
        "--labels=int32[]",
        '--params={"num_classes": 10}',
        "--global_batch_size=64",
        f"--cache_dir={tmp_path / 'cache'}",
    ]


def test_without_the_compiler_it_says_what_to_install(arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(UserError, match=r"not installed: jax; pip install 'tpu-images\[cpu,preflight\]'"):
        preflight.main([*arguments, "--tpu_type=v5e"])


@pytest.mark.slow
def test_prints_verdicts_and_writes_them(arguments, tmp_path, capsys):
    output = tmp_path / "out"
    assert preflight.main([*arguments, "--tpu_type=v5e,v6e:2x2", f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    assert "own_model:model_fn on v6e:2x2: 4 chip(s), 4 device(s), batch 64 (16 on each device)" in printed
    assert "of little worth" in printed, "a step of microseconds"
    document = json.loads((output / "preflight.json").read_text())
    assert [verdict["topology"] for verdict in document["verdicts"]] == ["v5e:1x1", "v6e:2x2"]
    assert "<h1>Preflight: own_model:model_fn</h1>" in (output / "preflight.html").read_text()
    preflight.main([*arguments, "--tpu_type=v5e"])
    assert "compiled      yes (remembered)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_batch_too_large_is_a_problem(arguments, capsys):
    assert preflight.main([*arguments, "--tpu_type=v5e", "--global_batch_size=400000000"]) == 1
    assert "does not fit" in capsys.readouterr().out


def test_an_operation_that_does_not_run_is_told_with_its_line(arguments):
    arguments = [argument for argument in arguments if not argument.startswith("--params")]
    with pytest.raises(UserError, match=r"own_model.py:9 .*PyFunc.*Python code cannot run"):
        preflight.main([*arguments, '--params={"num_classes": 10, "prints": true}', "--tpu_type=v5e"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def model_fn(:", r"--module=broken:model_fn: cannot be loaded \(SyntaxError: .*broken\.py:1\); mend it"),
        ("raise RuntimeError('boom')", r"cannot be loaded \(RuntimeError: boom, at .*broken\.py:1\); mend it"),
        ("import sys; sys.exit(3)", r"cannot be loaded \(SystemExit: 3, at .*broken\.py:1\)"),
        ("def model_fn(features, labels): return 3", "should return an EstimatorSpec"),
        ("def model_fn(features): pass", "does not take labels"),
        (MODULE.replace("tf.compat.v1.tpu.CrossShardOptimizer", ""), "CrossShardOptimizer must be used"),
    ],
)
def test_a_broken_program_is_told_in_a_line(arguments, tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    sys.modules.pop("broken", None)
    with pytest.raises(UserError, match=message):
        preflight.main([*arguments[1:], "--module=broken:model_fn", "--tpu_type=v5e:1x2"])


def test_an_error_of_the_program_keeps_its_trace(arguments):
    arguments = [argument for argument in arguments if not argument.startswith("--params")]
    with pytest.raises(KeyError, match="num_classes"):
        preflight.main([*arguments, "--tpu_type=v5e"])


def test_what_describes_a_model_fn_needs_one(arguments):
    with pytest.raises(UserError, match=r"--features: has no effect here.*--module"):
        preflight.main([*arguments[1:], "--tpu_type=v5e"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("--tpu_type=v99", "v99: no such TPU type"),
        ("--module=own_model:other", "--module=own_model:other: cannot be loaded"),
        ("--module=nowhere:model_fn", "--module=nowhere:model_fn: cannot be loaded"),
        ("--module=own_model:tf", "--module=own_model:tf: is no function"),
        ("--network=resnet18", "--network: has no effect here"),
        ("--params=[1]", "--params: is not a JSON object"),
        ("--params={", "--params: is not JSON"),
        ("--features=image", "image: no description of tensors"),
        ("--features=", "--features: is missing"),
        ("--prices=missing.toml", "missing.toml: no table of prices"),
        ("--output=own_model.py", "own_model.py is not a folder; name another folder"),
        ("--cache_dir=own_model.py/cache", "own_model.py is not a folder; name another folder"),
        ("--num_classes=0", "argument --num_classes: 0 is out of range"),
        ("--num_train_examples=many", "--num_train_examples: many is out of range; give a whole number, at least 1"),
        ("--global_batch_size=63", "v5e:1x2: a batch of 63 does not divide"),
    ],
)
def test_mistakes_are_told_before_anything_is_compiled(arguments, changed, message):
    name = changed.partition("=")[0]
    kept = [argument for argument in [*arguments, "--tpu_type=v5e:1x2"] if not argument.startswith(name)]
    with pytest.raises(UserError, match=message):
        preflight.main([*kept, changed])
