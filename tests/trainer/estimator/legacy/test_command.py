"""What `tpu-images legacy` prints and exits with, and which TensorFlow it chooses."""

import importlib
import inspect
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from trainer import task
from trainer.estimator.legacy import imports, style


@pytest.fixture
def script(tmp_path):
    def write(text, name="script.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def run(*words):
    return task.main(["legacy", *map(str, words)])


def error_line(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("tpu-images legacy:")]


def test_a_script_has_its_own_arguments_and_exit_status(script, capsys):
    path = script("import sys\nprint(sys.argv[1:], __name__)\nsys.exit(3)")
    assert run(path, "--", "--debug", "--names") == 3
    assert capsys.readouterr().out == "['--debug', '--names'] __main__\n"


def test_a_message_in_place_of_an_exit_status_is_printed(script, capsys):
    assert run(script("import sys\nsys.exit('out of memory')")) == 1
    assert error_line(capsys) == ["out of memory"]


def test_an_error_of_the_program_keeps_its_trace(script):
    with pytest.raises(ZeroDivisionError):
        run(script("1 / 0"))


@pytest.mark.parametrize(
    ("text", "name", "nearest"),
    [
        ("import tensorflow as tf\ntf.contrib.tpu.TPUConfg", "tf.contrib.tpu.TPUConfg", "tf.contrib.tpu.TPUConfig"),
        ("import tensorflow as tf\ntf.layers\ntf.trian", "tf.trian", "tf.train"),
        ("import tensorflow as tf\ntf.app\ntf.train.AdamOptimiser", "tf.train.AdamOptimiser", "tf.train.AdamOptimizer"),
        ("import tensorflow.compat.v1 as tf\ntf.estimator.Estimate", "tf.estimator.Estimate", "tf.estimator.Estimator"),
        ("from tensorflow.contrib import summry", "tf.contrib.summry", "tf.contrib.summary"),
        ("import tensorflow.contrib.layer", "tf.contrib.layer", "tf.contrib.layers"),
        ("import importlib\nimportlib.import_module('tensorflow.contrib.slim')", "tensorflow.contrib.slim", ""),
        (
            "from tensorflow_estimator.python.estimator import run_confg",
            "tensorflow_estimator.python.estimator.run_confg",
            "tensorflow_estimator.python.estimator.run_config",
        ),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest_one(script, capsys, text, name, nearest):
    path = script(text)
    assert run(path) == 2
    (line,) = error_line(capsys)
    assert line.startswith(f"tpu-images: {path}:{text.count(chr(10)) + 1}: {name} is not provided")
    assert nearest in line


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import tensorflow as tf\ntf.estimator.DNNClassifier", "tf.estimator.DNNClassifier"),
        ("from tensorflow.compat.v1.estimator import LinearRegressor", "tf.estimator.LinearRegressor"),
        ("from tensorflow.contrib.estimator import RNNClassifier", "tf.contrib.estimator.RNNClassifier"),
        ("import tensorflow.python.estimator.canned.dnn", "tf.python.estimator.canned.dnn"),
    ],
)
def test_a_canned_estimator_is_refused_as_one(script, capsys, text, name):
    assert run(script(text)) == 2
    (line,) = error_line(capsys)
    assert f" {name} is not provided, as no canned estimator is: give an Estimator a model_fn instead" in line


def test_a_program_may_ask_whether_a_name_is_there(script, capsys):
    text = """
import tensorflow as tf
print(hasattr(tf.contrib, "slim"), hasattr(tf.contrib, "tpu"), "TPUEstimator" in dir(tf.contrib.tpu))
try:
    from tensorflow.contrib import slim
except ImportError:
    print("no slim")
"""
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "False True True\nno slim\n"


VERSION = """
import os
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow import __version__
assert {tf.__version__, tf.version.VERSION, tf1.__version__, __version__} == {tf.__version__}
print(tf.__version__, os.path.basename(os.path.dirname(tf.__file__)), tf.__git_version__[:1], len(tf.__path__) > 0)
try:
    from tensorflow import __not_there__
except ImportError:
    print(hasattr(tf, "__not_there__"))
"""


@pytest.mark.parametrize(("name", "version"), [("tf.VERSION", "1.15.5"), ("tf.function", tf.__version__)])
def test_a_program_reads_the_version_that_it_means(script, capsys, name, version):
    assert run(script(f"{VERSION}{name}")) == 0
    assert capsys.readouterr().out == f"{version} tensorflow v True\nFalse\n"


def test_everything_can_be_imported_from_a_module(script, capsys):
    # TensorFlow's names hide what the interpreter has: `print` is `tf.print` then.
    text = """
from builtins import print as show
from tensorflow.contrib import *
from tensorflow.contrib.tpu import *
from tensorflow import *
show(training.HParams(rate=1).rate, TPUConfig.__name__, placeholder.__name__)
"""
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "1 TPUConfig placeholder\n"


def test_a_program_may_look_for_the_spec_of_a_module(script, capsys):
    names = ["tensorflow_estimator", "tensorflow.contrib.tpu", "tensorflow"]
    text = f"from importlib.util import find_spec\nprint([find_spec(name).name for name in {names}])"
    assert run(script(text)) == 0
    assert capsys.readouterr().out == f"{names}\n"


@pytest.mark.parametrize("words", [[], ["missing.py"], ["--tensorflow=3", "x.py"]])
def test_wrong_arguments_exit_with_2(words, capsys):
    assert run(*words) == 2
    assert len(error_line(capsys)) == 1


def test_an_address_in_the_cloud_is_refused_with_what_to_write(script, capsys):
    text = "import tensorflow as tf\ntf.contrib.cluster_resolver.TPUClusterResolver('grpc://10.0.0.2:8470')"
    assert run(script(text)) == 2
    assert "mock:8" in error_line(capsys)[0]


@pytest.mark.parametrize("version", ["auto", "1", "2"])
@pytest.mark.parametrize("imported", [False, True])
def test_a_program_for_python_2_is_told_of(script, capsys, version, imported):
    path = script("x = 1\nprint 'hello'", "of_python_2.py")
    # That TensorFlow 1 is meant is read before the module is.
    importing = script("import tensorflow as tf\nlambda: tf.placeholder\nimport of_python_2")
    assert run(importing if imported else path, "--tensorflow", version) == 2
    (line,) = error_line(capsys)
    assert line.startswith(f"tpu-images: {path}:2: not Python 3")


@pytest.mark.parametrize(
    ("text", "kind"), [("exec('1 +')", SyntaxError), ("raise ModuleNotFoundError('boom')", ModuleNotFoundError)]
)
def test_what_the_program_raises_itself_is_not_taken_for_a_mistake_in_its_modules(script, text, kind):
    with pytest.raises(kind) as raised:
        run(script(text))
    assert type(raised.value) is kind


def test_a_missing_module_is_named_with_the_line_that_wants_it(script, capsys):
    path = script("import json\nimport not_there.inside")
    assert run(path) == 2
    assert error_line(capsys)[0].startswith(f"tpu-images: {path}:2: there is no module not_there; install it")


def test_keras_2_is_asked_for_when_it_is_not_there(script, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    assert run(script("")) == 2
    assert error_line(capsys) == ["tpu-images: Keras 2 (tf_keras) is not installed; pip install --no-deps tf_keras"]


def test_names_lists_the_table(capsys):
    assert run("--names") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "tensorflow.contrib.tpu.TPUEstimator = trainer.estimator.tpu_estimator:TPUEstimator" in lines
    assert lines == sorted(lines)


def test_a_module_of_the_program_comes_before_one_that_is_loaded(script, tmp_path, monkeypatch, capsys):
    loaded = types.ModuleType("inputs")
    monkeypatch.setitem(sys.modules, "inputs", loaded)
    script("WHAT = 'the program'", "inputs.py")
    assert run(script("import inputs\nprint(inputs.WHAT)\nfrom inputs import WHAT")) == 0
    assert capsys.readouterr().out == "the program\n"
    assert sys.modules["inputs"] is loaded


def test_a_script_of_a_package_finds_the_package_even_if_it_is_called_as_ours(script, tmp_path, capsys):
    # As a job of Cloud ML Engine lies: `python -m trainer.task`.
    script("", "trainer/__init__.py")
    script("import tensorflow as tf\nCONFIG = tf.estimator.RunConfig(tf_random_seed=7)\ntf.app", "trainer/model.py")
    text = "import trainer.model as model\nfrom trainer import model as again\nfrom . import model as relative\n"
    path = script(f"{text}print(model is again is relative, model.CONFIG.tf_random_seed, __name__)", "trainer/task.py")
    ours = sys.modules["trainer"]
    assert run(path) == 0
    printed = capsys.readouterr()
    assert printed.out == "True 7 __main__\n"
    assert "means TensorFlow 1: model.py:3 uses tf.app" in printed.err
    assert sys.modules["trainer"] is ours


def test_a_script_of_a_package_may_lie_beside_a_module_that_is_called_as_one_of_pythons(script, capsys):
    script("", "tools/__init__.py")
    script("", "tools/logging.py")
    script("import tensorflow as tf\nLEVEL = tf.logging.INFO", "tools/levels.py")
    path = script("import logging\nfrom tools import levels\nprint(logging.INFO == levels.LEVEL)", "tools/main.py")
    assert run(path) == 0
    assert capsys.readouterr().out == "True\n"


def test_a_script_of_a_package_may_import_what_lies_beside_it(script, capsys):
    script("", "repository/__init__.py")
    script("DEPTH = 50", "repository/settings_beside.py")
    assert run(script("import settings_beside\nprint(settings_beside.DEPTH)", "repository/main.py")) == 0
    assert capsys.readouterr().out == "50\n"


def test_what_lies_beside_the_package_of_a_script_takes_no_place_of_pythons_modules(script, capsys):
    script("", "package/__init__.py")
    script("", "pyclbr.py")
    script("SIZE = 3", "beside_the_package.py")
    text = "import pyclbr\nimport beside_the_package\nprint(hasattr(pyclbr, 'readmodule'), beside_the_package.SIZE)"
    assert run(script(text, "package/main.py")) == 0
    assert capsys.readouterr().out == "True 3\n"


def test_a_package_may_lie_in_the_root_of_the_file_system(monkeypatch):
    monkeypatch.setattr("os.path.isfile", lambda path: path in {"/__init__.py", "/app/__init__.py"})
    assert imports.package_of("/app") == ("app", "/")


MODEL = """
import sys
import tensorflow as tf

def model_fn(features, labels, mode):
    outputs = tf.layers.dense(features, 1)
    loss, step = tf.reduce_mean(tf.square(outputs - labels)), tf.train.get_global_step()
    by_variable = {variable: tf.gradients(loss, variable)[0] for variable in tf.trainable_variables()}
    rate = tf.case({tf.less(step, 1): lambda: 0.1, tf.greater(step, 2): lambda: 0.2}, lambda: 0.3, exclusive=True)
    assert outputs in {outputs} and by_variable[tf.trainable_variables()[0]] is not None
    optimizer = tf.train.GradientDescentOptimizer(rate)
    pairs = [(gradient, variable) for variable, gradient in by_variable.items()]
    hook = tf.train.LoggingTensorHook({"step": step, "loss": loss}, 1, formatter=lambda found: print(sorted(found)))
    train_op = optimizer.apply_gradients(pairs, step)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, training_hooks=[hook])

estimator = tf.estimator.Estimator(model_fn, sys.argv[1])
estimator.train(lambda: tf.data.Dataset.from_tensors((tf.ones([8, 3]), tf.ones([8, 1]))).repeat(), steps=2)
print(sorted(name for name in estimator.get_variable_names()))
"""


def test_tensors_and_variables_of_tensorflow_1_are_keys_of_a_dict_and_logged(script, tmp_path, capsys):
    assert run(script(MODEL), "--", tmp_path / "model") == 0
    logged = "['loss', 'step']\n" * 2
    assert capsys.readouterr().out == f"{logged}['dense/bias', 'dense/kernel', 'global_step']\n"
    with pytest.raises(TypeError, match="unhashable"):
        hash(tf.constant(1.0))


@pytest.mark.parametrize("switch", ["enable_eager_execution", "enable_v2_behavior"])
def test_a_program_for_tensorflow_1_may_switch_eager_execution_on(script, capsys, switch):
    text = f"""
import tensorflow as tf
print(tf.executing_eagerly(), tf.VERSION)
tf.{switch}()
tf.{switch}()
print((tf.ones([2]) + 1).numpy())
with tf.Graph().as_default(), tf.Session() as session:
    print(session.run(tf.placeholder_with_default(3, [])))
print(tf.executing_eagerly())
"""
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "False 1.15.5\n[2. 2.]\n3\nTrue\n"
    assert run(script("import tensorflow as tf\nprint(tf.executing_eagerly(), tf.VERSION)")) == 0
    assert capsys.readouterr().out == "False 1.15.5\n"
    assert tf.executing_eagerly()


def test_names_of_a_module_can_be_looked_up_by_value(script, capsys):
    text = "import tensorflow as tf\nprint(tf.logging.__dict__['INFO'], 'TPUEstimator' in vars(tf.contrib.tpu))"
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "20 True\n"


def test_a_name_may_be_replaced_in_a_module(script, capsys):
    replacing = "real = tf.gradients\ntf.__dict__['gradients'] = print"
    assert run(script(f"import tensorflow as tf\n{replacing}\ntf.gradients(real is not print)")) == 0
    assert capsys.readouterr().out == "True\n"


def test_what_has_moved_inside_tensorflow_is_found_where_it_was(script, capsys):
    text = """
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import dtypes, ops
from tensorflow.python.layers import normalization
from tensorflow.python.ops import array_ops, control_flow_ops, math_ops, parsing_ops
from tensorflow.python.training import moving_averages, optimizer, training_ops
from tensorflow.python.util import nest
from tensorflow.python.platform import tf_logging as logging

flag = tf.placeholder(dtypes.bool, [])
pair = array_ops.stack([math_ops.cast(flag, dtypes.float32), 2.0])
doubled = control_flow_ops.cond(flag, lambda: pair * 2.0, lambda: pair)
print(isinstance(doubled, ops.Tensor), nest.is_sequence([1]), training_ops.resource_apply_momentum.__name__)
with tf.Session() as session:
    print(session.run(doubled, {flag: True}))
"""
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "True True resource_apply_momentum\n[2. 4.]\n"


@pytest.mark.parametrize("version", "12")
def test_the_estimator_is_found_where_tensorflow_kept_its_parts(script, capsys, version):
    text = """
import tensorflow.compat.v1 as tf
from tensorflow.python.tpu import async_checkpoint, tpu_config, tpu_context, tpu_estimator, tpu_function

print(tpu_config.RunConfig is tpu_estimator.RunConfig is tf.estimator.tpu.RunConfig, tpu_context.TPUContext.__name__)
print(async_checkpoint.AsyncCheckpointSaverHook.__name__, tpu_function.get_tpu_context().number_of_shards)
"""
    assert run("--tensorflow", version, script(text)) == 0
    assert capsys.readouterr().out == "True TPUContext\nCheckpointSaverHook None\n"


def test_tensorflow_may_be_imported_from_the_place_that_editors_write(script, capsys):
    text = """
import tensorflow._api.v2.compat.v1 as tf
import tensorflow._api.v2.compat.v2 as tf2
from tensorflow._api.v2.v2 import keras

print(tf.estimator.tpu.TPUEstimator.__name__, tf.layers.Dense.__name__, tf2.keras is keras, tf2.__name__)
"""
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "TPUEstimator Dense True tensorflow\n"


def test_the_level_of_the_log_may_be_given_by_name(script, capsys):
    text = """
import tensorflow as tf
from absl import logging
for level in ("DEBUG", "WARN", tf.logging.ERROR):
    tf.logging.set_verbosity(level)
    print(tf.logging.get_verbosity(), logging.get_verbosity())
"""
    assert run(script(text)) == 0
    assert capsys.readouterr().out == "10 1\n30 -1\n40 -2\n"


def test_folders_of_a_program_are_forgotten_afterwards(script, tmp_path, monkeypatch):
    (tmp_path / "folder_there_before").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    there_before = importlib.import_module("folder_there_before")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    script("import folder_there_before", "folder/inside/module.py")
    assert run(script("import folder.inside.module")) == 0
    assert [name for name in sys.modules if name.partition(".")[0] == "folder"] == []
    assert sys.modules["folder_there_before"] is there_before


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("import tensorflow as tf\ntf.placeholder", 1),
        ("import tensorflow as tf\ntf.train.AdamOptimizer", 1),
        ("import tensorflow as tf\ntf.losses.softmax_cross_entropy", 1),
        ("import tensorflow as tf\ntf.losses.Huber", 2),
        ("import tensorflow as tf\ntf.estimator.Estimator\ntf.compat.v1.placeholder\ntf.keras.Model", 2),
        ("import tensorflow.compat.v1 as tf\ntf.placeholder", 2),
        ("import tensorflow.compat.v1 as tf\ndef f(x):\n    return x.shape[-1].value", 1),
        ("import tensorflow.compat.v1 as tf\nf = lambda x: tf.TensorShape(x).dims[0].value", 1),
        ("import tensorflow.compat.v1 as tf\nf = lambda x: x.get_shape()[0].value", 1),
        ("import tensorflow.compat.v1 as tf\nf = lambda x: x.shape.value + x[0].value", 2),
        ("from tensorflow.contrib import summary", 1),
        ("import tensorflow as tf\ntf.estimator.inputs.numpy_input_fn", 1),
        ("import tensorflow.contrib.tpu", 1),
        ("def later():\n    import tensorflow\n    return tensorflow.app", 1),
        ("from package import inside", 1),
        ("x = 'tf.placeholder'", 2),
    ],
)
def test_the_version_is_read_from_the_names(script, tmp_path, monkeypatch, text, version):
    monkeypatch.syspath_prepend(str(tmp_path))
    script("", "package/__init__.py")
    script("from . import deeper", "package/inside.py")
    script("import tensorflow as tf\ntf.flags", "package/deeper.py")
    assert style.of_program(str(script(text))).version == version


def test_the_version_can_be_given(script, capsys):
    path = script("import tensorflow as tf\nprint(hasattr(tf, 'placeholder'), tf.executing_eagerly())")
    assert [run("--tensorflow", version, path) for version in "12"] == [0, 0]
    assert capsys.readouterr().out == "True False\nFalse True\n"


def test_names_that_python_and_its_packages_have_dropped_are_there_for_the_program_alone(script, capsys):
    script("import numpy as np\nnp.load = None\nshared = np", name="other.py")
    path = script(
        """
import collections, inspect, numpy as np, numpy.linalg as linalg, other, time, yaml
from collections import Mapping, OrderedDict
from fractions import gcd
from io import StringIO

def augment(image, level=1):
    return image

assert inspect.getargspec(augment)[0][-1] == "level" and inspect.getargspec(augment).defaults == (1,)
assert isinstance(OrderedDict(), Mapping) and collections.Sequence is collections.abc.Sequence
assert np.float is float and np.Inf == float("inf") and np.array([1], np.int).dtype == np.int64
assert linalg.norm(np.ones(4)) == 2.0 and np.random.RandomState(0).rand() < 1
assert yaml.load("{depth: 50}") == {"depth": 50} == yaml.load(StringIO("depth: 50"), Loader=yaml.SafeLoader)
assert list(yaml.load_all("a\\n---\\nb")) == ["a", "b"]
assert gcd(4, 6) == 2 and time.clock() >= 0
assert other.shared is np and np.load is None
print(hasattr(np, "no_such_name"), hasattr(time, "sleep"))
"""
    )
    assert run(path) == 0
    assert capsys.readouterr().out == "False True\n"
    assert not hasattr(inspect, "getargspec")
    assert np.load is not None


def test_a_module_may_put_an_object_in_its_own_place(script, capsys):
    text = "import sys\n\nclass Settings:\n    depth = 50\n\nsys.modules[__name__] = Settings()"
    script(text, name="settings_of_the_program.py")
    assert run(script("import settings_of_the_program as settings\nprint(settings.depth)")) == 0
    assert capsys.readouterr().out == "50\n"


def test_a_name_that_a_package_never_had_is_an_error_of_the_program(script):
    with pytest.raises(ImportError, match="cannot import name 'no_such_name' from 'inspect'"):
        run(script("from inspect import no_such_name"))
