"""`cloudbuild.yaml` against Cloud Build's own message; what it runs against what the repository has."""

import pathlib
import re
import shlex

import pytest
import yaml
from google.cloud.devtools import cloudbuild_v1
from google.protobuf import json_format

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = json_format.ParseDict(yaml.safe_load((ROOT / "cloudbuild.yaml").read_text()), cloudbuild_v1.Build.pb()())
STEPS = {step.id: step for step in BUILD.steps}
IMAGES = ("trainer-tpu", "trainer-gpu", "beam")
# Those that Cloud Build knows by itself: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values
BUILT_IN = {"PROJECT_ID", "BUILD_ID", "LOCATION", "PROJECT_NUMBER"}


def test_ids_are_unique_and_steps_wait_for_earlier_ones():
    earlier: set[str] = set()
    for step in BUILD.steps:
        assert step.id not in earlier
        assert set(step.wait_for) - {"-"} <= earlier
        earlier.add(step.id)


def test_the_test_step_is_the_command_of_the_readme():
    assert STEPS["test"].args[-1].splitlines()[-1] == "make test"
    assert STEPS["test"].name.endswith("-slim")
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("image", IMAGES)
def test_each_image_is_built_imported_and_pushed(image):
    reference = f"${{_REGISTRY}}/{image}:${{_TAG}}"
    build = STEPS[f"build-{image}"]
    assert f"--tag={reference}" in build.args
    (dockerfile,) = [word.removeprefix("--file=") for word in build.args if word.startswith("--file=")]
    assert (ROOT / dockerfile).is_file()
    smoke = STEPS[f"smoke-{image}"]
    assert smoke.wait_for == [build.id]
    assert reference in smoke.args
    assert reference in BUILD.images


@pytest.mark.parametrize("image", IMAGES)
def test_what_the_smoke_test_imports_exists(image):
    program = STEPS[f"smoke-{image}"].args[-1]
    modules = re.findall(r"\b((?:trainer|preprocessing)\.[\w.]+)", program)
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or path.is_dir(), module


def test_every_substitution_is_defined_and_used():
    text = (ROOT / "cloudbuild.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+)\}", "\n".join(line for line in text.splitlines() if not line.startswith("#"))))
    defined = set(BUILD.substitutions)
    assert used - BUILT_IN <= defined
    assert BUILD.options.dynamic_substitutions
    assert all(re.search(rf"\$\{{{name}\}}", text) for name in defined)


def test_a_build_by_a_service_account_of_ones_own_can_log():
    assert BUILD.options.logging == cloudbuild_v1.BuildOptions.LoggingMode.CLOUD_LOGGING_ONLY


def test_no_image_is_in_the_registry_that_was_shut_down():
    assert all(not image.startswith("gcr.io/") for image in BUILD.images)
    assert BUILD.substitutions["_REGISTRY"].startswith("${_REGION}-docker.pkg.dev/")


@pytest.mark.parametrize("image", ("trainer-tpu", "trainer-gpu"))
def test_the_variant_is_an_extra_of_the_package(image):
    (variant,) = [word.rpartition("=")[2] for word in STEPS[f"build-{image}"].args if "VARIANT" in word]
    assert f'"{variant}":' in (ROOT / "setup.py").read_text()
    assert shlex.quote(variant) == variant
