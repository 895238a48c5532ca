"""Imports point one way: this holds the table of docs/architecture.md."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A module may import modules of a lower rank, and of its own room.
RANKS = (
    (
        "preprocessing.errors",
        "preprocessing.schema",
        "preprocessing.dataset_info",
        "preprocessing.distribution",
        "preprocessing.command_line",
        "trainer.errors",
    ),
    (
        "trainer.config",
        "trainer.presets",
        "trainer.replica",
        "trainer.cloud_environment",
        "trainer.accelerators",
        "trainer.legacy_arguments",
    ),
    (
        "trainer.nn",
        "trainer.data",
        "trainer.engine",
        "trainer.model_directory",
        "trainer.commands.arguments",
        "trainer.commands.tensorflow_loading",
        "trainer.commands.terminal",
    ),
    ("trainer.models", "trainer.estimator"),
    ("trainer.export", "trainer.preflight"),
    ("trainer.experiment",),
    ("trainer.submit",),
    ("trainer.commands",),
    ("trainer.task",),
)
# Within a rank, rooms do not know one another, but for these.
SAME_RANK_ALLOWED = {
    ("trainer.presets", "trainer.config"),
    ("trainer.accelerators", "trainer.config"),
    ("preprocessing.dataset_info", "preprocessing.schema"),
    ("preprocessing.dataset_info", "preprocessing.errors"),
    ("preprocessing.distribution", "preprocessing.errors"),
    ("preprocessing.command_line", "preprocessing.errors"),
    ("trainer.errors", "preprocessing.errors"),
}
TAKEN_FROM_PREPROCESSING = {
    "preprocessing.errors",
    "preprocessing.schema",
    "preprocessing.dataset_info",
    "preprocessing.distribution",
    "preprocessing.command_line",
}
# Heavy or optional packages, and the only rooms that may load them.
RESERVED_PACKAGES = {
    "apache_beam": ("preprocessing",),
    "tensorflow": ("trainer",),
    "jax": ("trainer.engine.pjrt", "trainer.engine.stablehlo", "trainer.engine.topology", "trainer.preflight"),
    "google.cloud": ("trainer.submit", "preprocessing"),
}


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: pathlib.Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def room_and_rank(module: str) -> tuple[str, int] | None:
    for rank, rooms in enumerate(RANKS):
        for room in rooms:
            if module == room or module.startswith(room + "."):
                return room, rank
    return None


SOURCES = sorted([*(ROOT / "trainer").rglob("*.py"), *(ROOT / "preprocessing").rglob("*.py")])


@pytest.fixture(scope="module")
def imports() -> list[tuple[str, str]]:
    """Every module of ours with each of those that it imports."""
    return [(module_name(path), target) for path in SOURCES for target in imported_modules(path)]


def test_imports_point_one_way(imports):
    for module, target in imports:
        here, there = room_and_rank(module), room_and_rank(target)
        if here and there and here[0] != there[0] and (here[0], there[0]) not in SAME_RANK_ALLOWED:
            assert there[1] < here[1], f"{module} (rank {here[1]}) imports {target} (rank {there[1]})"


def test_preprocessing_and_trainer_meet_in_few_modules(imports):
    for module, target in imports:
        if module.startswith("preprocessing"):
            assert not target.startswith("trainer"), f"{module} imports {target}"
        elif target.startswith("preprocessing."):
            taken = any(target == allowed or target.startswith(allowed + ".") for allowed in TAKEN_FROM_PREPROCESSING)
            assert taken, f"{module} imports {target}"


def test_reserved_packages_stay_in_their_rooms(imports):
    for module, target in imports:
        for package, rooms in RESERVED_PACKAGES.items():
            if target == package or target.startswith(package + "."):
                assert module.startswith(rooms), f"{module} loads {package}"


def test_every_trainer_module_has_a_rank():
    unranked = [module for path in SOURCES if (module := module_name(path)).startswith("trainer.")]
    assert [module for module in unranked if room_and_rank(module) is None] == []
