"""The documentation source: docstrings of Python and of our dependencies, read statically with `ast`.

About 30 MB of technical English that is already on every machine that runs Bloomery, so that the
embedded family has real text to keep without a download. Other package versions give other text,
which is why the held-out slice is frozen in `families/ember/heldout/documentation.jsonl`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from bloomery.core.errors import InputError
from bloomery.data.curated.sources import SourceFile, source_files

MIN_CHARACTERS = 100
"""Shorter docstrings ("Return the name.") say less than their header line."""

MAX_SIGNATURE = 160
HELDOUT_ONE_IN = 50
"""One document in this many, by hash of its body, is held out of training."""

_ADDERS = re.compile(r"add_newdoc|add_docstr")
_SPACES = re.compile(r"\s+")


def generate(
    split: str = "train", fraction: float = 1.0, count: int | None = None, workers: int = 2
) -> Iterator[dict[str, str]]:
    """Yield text rows `{"id", "text"}`: a header line (dotted name and signature), then the docstring.

    `split` is train, heldout or all; whether a document is held out depends only on its body, so the
    frozen slice stays excluded under any package version. `fraction` reads only that share of the
    modules (quick samples). Exact duplicates of a body are yielded once, where they come first in
    the order of packages and paths. Raises `InputError` for an unknown split.
    """
    if split not in ("train", "heldout", "all"):
        raise InputError(
            f"`split: {split}` is not train, heldout or all", fix="set `options.split` of the documentation source"
        )
    seen: set[str] = set()
    for header, body in _documents(list(source_files(fraction)), workers):
        digest = body_hash(body)
        if digest in seen or (split != "all" and is_heldout(body) != (split == "heldout")):
            continue
        seen.add(digest)
        yield {"id": f"doc-{digest[:16]}", "text": f"{header}\n\n{body}\n"}
        if count is not None and len(seen) >= count:
            return


def body_hash(body: str) -> str:
    """Hex sha256 of a docstring with its white space folded and its letters lowered."""
    return hashlib.sha256(_SPACES.sub(" ", body).strip().lower().encode()).hexdigest()


def is_heldout(body: str) -> bool:
    """Whether a docstring belongs to the held-out hundredth, under any package version."""
    return int(body_hash(body)[:8], 16) % HELDOUT_ONE_IN == 0


def body_of(text: str) -> str:
    """The docstring of a row's text, without its header line."""
    return text.split("\n\n", 1)[-1].removesuffix("\n")


def _documents(files: list[SourceFile], workers: int) -> Iterator[tuple[str, str]]:
    if workers <= 1:
        for file in files:
            yield from read_docstrings(file)
        return
    pool = ProcessPoolExecutor(workers)
    try:
        for documents in pool.map(read_docstrings, files, chunksize=32):
            yield from documents
    finally:
        pool.shutdown(cancel_futures=True)  # a reader that stops early does not wait for the rest


def read_docstrings(file: SourceFile) -> list[tuple[str, str]]:
    """(header, body) of every long enough docstring of a file, in source order; [] where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's docstrings
            source = file.path.read_text(encoding="utf-8")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, OSError):
        return []
    found = _topics(tree) if file.module == "pydoc_data.topics" else list(_walk(tree, file.module))
    if _ADDERS.search(source):
        found += _added(tree, file.module)
    cleaned = ((header, inspect.cleandoc(text).strip()) for header, text in found)
    return [(header, body) for header, body in cleaned if len(body) >= MIN_CHARACTERS and _is_text(body)]


def _is_text(body: str) -> bool:
    """False for tables of data and for text that UTF-8 cannot hold."""
    letters = sum(character.isalpha() for character in body)
    return letters >= 0.4 * len(body) and not any(0xD800 <= ord(character) <= 0xDFFF for character in body)


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Docstrings of a module, its classes and functions, and what is nested in them."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node, clean=False)
        if text:
            yield _header(node, name), text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from _walk(child, name)


def _header(node: ast.AST, name: str) -> str:
    if isinstance(node, ast.Module):
        return f"module {name}"
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {name}({bases})" if bases else f"class {name}"
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    signature = ast.unparse(node.args)
    return f"{name}({signature if len(signature) <= MAX_SIGNATURE else '...'})"


def _added(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """Docstrings that torch and numpy attach to compiled functions by a call: `add_docstr(torch.abs, "...")`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and _ADDERS.search(ast.unparse(node.func)) and len(node.args) >= 2):
            continue
        texts = [
            part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        text = max(texts, key=len, default="")
        target = node.args[0] if not isinstance(node.args[0], ast.Constant) else None
        name = ast.unparse(target) if target else ".".join(t for t in texts if len(t) < 60 and t.isprintable())
        yield name or module, text


def _topics(tree: ast.Module) -> list[tuple[str, str]]:
    """The language reference that `help()` shows: `topics = {"assert": "...", ...}`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(node.value)
            return [(f"Python topic: {name}", text) for name, text in sorted(topics.items())]
    return []
