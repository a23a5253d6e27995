"""The ratchet: files and functions stay small enough to read, and no file becomes a drain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, Module, modules

FILE_LINES = 300
FUNCTION_LINES = 40
SMALLER = {"bloomery.train.loop": 250}
DRAINS = {"utils", "util", "common", "helpers", "misc", "base"}


def long_functions(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{module.path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines"


def long_file(module: Module) -> Iterator[str]:
    lines = len(module.path.read_text().splitlines())
    if lines > SMALLER.get(module.name, FILE_LINES):
        yield f"{module.name} has {lines} lines"


def test_no_file_is_longer_than_its_limit() -> None:
    assert [found for module in modules() for found in long_file(module)] == []


def test_no_function_is_longer_than_its_limit() -> None:
    assert [found for module in modules() for found in long_functions(module)] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [module.name for module in modules() if module.name.split(".")[-1] in DRAINS] == []


def test_every_module_says_what_it_is() -> None:
    assert [module.name for module in modules() if not ast.get_docstring(module.tree)] == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    missing = []
    for module in modules():
        for node in module.tree.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{module.path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert missing == []


def test_every_exported_list_is_sorted_and_true() -> None:
    for module in modules():
        for names in exported(module):
            assert names == sorted(names), module.name
            assert len(names) == len(set(names)), module.name


def exported(module: Module) -> Iterator[list[str]]:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            yield list(ast.literal_eval(node.value))


def test_nothing_is_a_stub() -> None:
    """`raise NotImplementedError` outside a protocol promises what is not there."""
    found = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
                found.append(f"{module.path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_the_ratchet_bites(tmp_path: Path) -> None:
    body = "\n".join(f"    x{n} = {n}" for n in range(FUNCTION_LINES))
    module = Module("bloomery.x", ROOT / "x.py", ast.parse(f"def long():\n{body}\n"))
    assert list(long_functions(module)) == ["x.py:1 long has 41 lines"]


@pytest.mark.parametrize(("name", "limit"), [("bloomery.data.x", 300), ("bloomery.train.loop", 250)])
def test_a_file_may_have_its_limit_and_not_a_line_more(tmp_path: Path, name: str, limit: int) -> None:
    path = tmp_path / "x.py"
    for lines, found in ((limit, []), (limit + 1, [f"{name} has {limit + 1} lines"])):
        path.write_text("x = 1\n" * lines)
        assert list(long_file(Module(name, path, ast.parse("")))) == found


def test_the_limits_are_of_files_that_are_there() -> None:
    assert set(SMALLER) <= {module.name for module in modules()}
