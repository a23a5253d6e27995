"""The ratchet: files and functions stay small enough to read, and no file becomes a drain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

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


def test_no_file_is_longer_than_its_limit() -> None:
    lengths = {module: len(module.path.read_text().splitlines()) for module in modules()}
    assert [
        f"{module.path.relative_to(ROOT)} has {lines} lines"
        for module, lines in lengths.items()
        if lines > SMALLER.get(module.name, FILE_LINES)
    ] == []


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
