"""What the shape tests look at: our modules as syntax trees, the imports between them, and the tracked files."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import bloomery

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
IMPORTERS = ("import_module", "__import__")
PUBLIC = frozenset(bloomery.__all__)
"""What `bloomery.NAME` fetches from `bloomery.api`."""


@dataclass(frozen=True)
class Module:
    """A module of ours: its dotted name, file and tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@dataclass(frozen=True)
class Import:
    """One imported name: `lazy` inside a function, `typing_only` under `if TYPE_CHECKING`."""

    target: str
    line: int
    lazy: bool
    typing_only: bool


@cache
def modules(source: Path = SOURCE) -> tuple[Module, ...]:
    """Every module under `source`, by name."""
    return tuple(read_module(path, source) for path in sorted(source.rglob("*.py")))


def read_module(path: Path, source: Path) -> Module:
    parts = path.relative_to(source).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(path.read_text(), filename=str(path)))


def imports(module: Module) -> Iterator[Import]:
    """All imports of a module wherever they stand, relative ones made absolute, `import_module("x")` included."""
    yield from _walk(module, module.tree, lazy=False, typing_only=False)


def _walk(module: Module, node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(module, child):
            yield Import(target, child.lineno, lazy, typing_only)  # type: ignore[attr-defined]
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _walk(module, ast.Module([statement], []), inside, True)
            for statement in child.orelse:
                yield from _walk(module, ast.Module([statement], []), inside, typing_only)
        else:
            yield from _walk(module, child, inside, typing_only)


def _targets(module: Module, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _absolute(module, node)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in roots(module):
        return [] if node.attr.startswith("__") else ["bloomery." + ("api" if node.attr in PUBLIC else node.attr)]
    if isinstance(node, ast.Call) and _is_importer(module, node.func):
        named = _named(module, node)
        return [] if named is None else [named]
    return []


@cache
def roots(module: Module) -> frozenset[str]:
    """Names under which a module has our whole package: by `bloomery.run` all of it can be reached."""
    bound = (alias for node in ast.walk(module.tree) if isinstance(node, ast.Import) for alias in node.names)
    return frozenset(
        alias.asname or "bloomery"
        for alias in bound
        if alias.name == "bloomery" or (alias.name.startswith("bloomery.") and not alias.asname)
    )


def computed(module: Module) -> list[int]:
    """Lines that import by a name which only running tells, or hand the importing function on."""
    found, called = [], set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and _is_importer(module, node.func):
            called.add(node.func)
            found += [node.lineno] if _named(module, node) is None else []
    loose = (node for node in ast.walk(module.tree) if isinstance(node, ast.expr) and _is_importer(module, node))
    return sorted([*found, *(node.lineno for node in loose if node not in called)])


def _is_importer(module: Module, node: ast.expr) -> bool:
    """Whether an expression is `importlib.import_module` or `__import__`, under whatever name."""
    if isinstance(node, ast.Attribute):
        return node.attr in IMPORTERS
    return isinstance(node, ast.Name) and node.id in _importers(module)


@cache
def _importers(module: Module) -> frozenset[str]:
    found = (node for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom))
    bound = {alias.asname or alias.name for node in found for alias in node.names if alias.name in IMPORTERS}
    return frozenset(bound | {"__import__"})


def _named(module: Module, node: ast.Call) -> str | None:
    """The absolute name that a call imports, None where it is computed."""
    given = {word.arg: word.value for word in node.keywords}
    name, package = [*node.args[:2], *[None] * (2 - len(node.args[:2]))]
    name, package = name or given.get("name"), package or given.get("package")
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
        return None
    if not name.value.startswith("."):
        return name.value
    own = module.name if module.is_package else module.name.rpartition(".")[0]
    if isinstance(package, ast.Constant):
        return resolve_name(name.value, str(package.value))
    return resolve_name(name.value, own) if isinstance(package, ast.Name) and package.id == "__package__" else None


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    base = package[: len(package) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that git tracks, or all that lie here where this is no checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if done.returncode != 0:
        return tuple(p for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts)
    return tuple(path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file())


def tracked_text() -> Iterator[tuple[Path, str]]:
    """Tracked files that are text, with their text."""
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:4096]:
            yield path, data.decode("utf-8", errors="replace")
