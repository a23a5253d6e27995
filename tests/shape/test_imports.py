"""Imports go down only. Layers from the top; packages of one layer never import each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import SOURCE, Module, computed, imports, modules, read_module

LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli", "studio", "api", "__main__"),
    ("studies",),
    ("recipes",),
    ("rl",),
    ("serve", "evals"),
    ("train", "engine", "graders", "review"),
    ("data", "models", "families"),
    ("lineage", "launch", "doctor"),
    ("core",),
)
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}

LIGHT_PACKAGES = ("core", "families", "lineage", "launch", "review", "recipes", "doctor", "cli")
HEAVY = ("torch", "transformers", "peft", "pyarrow", "datasets", "accelerate")
MAY_BE_HEAVY = ("bloomery.recipes.run",)


def edges(module: Module) -> list[tuple[str, str, int]]:
    """Imports of our own packages by `module`: (from package, to package, line)."""
    own = package_of(module.name)
    targets = (
        (package_of(found.target), found.line) for found in imports(module) if found.target.startswith("bloomery.")
    )
    return [(own, target, line) for target, line in targets if target and target != own]


def package_of(name: str) -> str:
    """`x` of `bloomery.x.y`; nothing for the root and its own version."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__version__" else ""


def wrong(module: Module) -> list[str]:
    """Edges that go up or sideways, or touch a package that has no layer, as `file:line from -> to`."""
    found = []
    for own, target, line in edges(module):
        if own and (own not in RANK or target not in RANK or RANK[target] <= RANK[own]):
            found.append(f"{module.path}:{line} {own} -> {target}")
    return found


def test_no_import_goes_up_or_sideways() -> None:
    assert [edge for module in modules() for edge in wrong(module)] == []


def test_every_package_has_a_layer() -> None:
    present = {package_of(module.name) for module in modules()} - {""}
    assert present <= set(RANK)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("core/x.py", "import bloomery.train.loop"),
        ("core/x.py", "from bloomery.train import loop"),
        ("core/x.py", "from bloomery import train"),
        ("core/x.py", "from ..train.loop import Trainer"),
        ("core/x.py", "from .. import train"),
        ("core/__init__.py", "from ..lineage import index"),
        ("core/x.py", "def f():\n    from bloomery.data import store"),
        ("core/x.py", "def f():\n    if True:\n        from ..data import store"),
        ("core/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bloomery.data import store"),
        ("core/x.py", "import importlib\nimportlib.import_module('bloomery.data.store')"),
        ("core/x.py", "import importlib\nimportlib.import_module('.loop', 'bloomery.train')"),
        ("core/x.py", "import importlib\nimportlib.import_module(name='.loop', package='bloomery.train')"),
        ("core/x.py", "from importlib import import_module as load\nload('bloomery.data.store')"),
        ("core/x.py", "from importlib import import_module as load\nload('..data.store', __package__)"),
        ("core/x.py", "import bloomery\nbloomery.run('recipe.yaml')"),
        ("train/x.py", "import bloomery as all_of_it\ndef f():\n    return all_of_it.explain('recipe.yaml')"),
        ("core/x.py", "import bloomery\nbloomery.train.loop.train()"),
        ("data/x.py", "from bloomery.models import load"),
        ("evals/x.py", "class A:\n    def f(self):\n        import bloomery.serve"),
        ("train/x.py", "from bloomery.unheard import y"),
    ],
)
def test_an_edge_that_is_wrong_is_found_however_it_is_written(tmp_path: Path, name: str, code: str) -> None:
    path = tmp_path / "bloomery" / name
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert len(wrong(read_module(path, tmp_path))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "from bloomery.core import errors",
        "from bloomery import __version__",
        "from ..core.errors import InputError",
        "from . import loop",
        "import bloomery\nprint(bloomery.__version__)",
        "import bloomery\nprint(bloomery.core.errors)",
        "from importlib import import_module\nimport_module('.loop', __package__)",
    ],
)
def test_an_edge_that_goes_down_or_stays_inside_passes(tmp_path: Path, code: str) -> None:
    path = tmp_path / "bloomery" / "train" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert wrong(read_module(path, tmp_path)) == []


BY_NAME = {
    "bloomery.data.builtin": "the table of generated sources, all of `data`",
    "bloomery.recipes.sample": "the same table",
    "bloomery.doctor": "asks whether libraries can be imported",
    "bloomery.train.trackers": "optional trackers, which are not ours",
}
"""Modules that import by a computed name, and what those names are."""


def test_a_name_is_computed_only_where_its_table_is_known() -> None:
    assert {module.name for module in modules() if computed(module)} == set(BY_NAME)
    from bloomery.data.builtin import BUILTINS

    assert {package_of(target.partition(":")[0]) for target in BUILTINS.values()} == {"data"}


@pytest.mark.parametrize(
    "code",
    [
        "import importlib\nimportlib.import_module(name)",
        "import importlib as i\ni.import_module(f'bloomery.{name}')",
        "from importlib import import_module as load\nload(table['x'])",
        "from importlib import import_module\nload = import_module\nload('bloomery.train')",
        "from importlib import import_module\nimport_module('.loop', package)",
        "__import__('bloomery.' + name)",
    ],
)
def test_a_computed_name_is_found_however_it_is_written(tmp_path: Path, code: str) -> None:
    path = tmp_path / "bloomery" / "core" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert len(computed(read_module(path, tmp_path))) == 1


def is_light(name: str) -> bool:
    parts = name.split(".")
    return name not in MAY_BE_HEAVY and (package_of(name) in LIGHT_PACKAGES or parts[-1] == "config")


def test_what_must_be_light_imports_nothing_heavy_at_module_level() -> None:
    light = [module.name for module in modules() if is_light(module.name)]
    assert light
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_without_numpy() -> None:
    heavy = {"numpy", "torch", "transformers"}
    code = f"import sys, bloomery.cli; found = {heavy!r} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
