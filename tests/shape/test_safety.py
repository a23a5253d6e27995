"""What must never be written: ways to run code from data, shells, and traces of the machine it was written on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, modules, tracked_files, tracked_text

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "torch.save", "eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNSAFE_KEYWORDS = {"allow_pickle", "trust_remote_code", "shell"}


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines that load pickles, run text as code, start a shell or trust remote code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in UNSAFE_MODULES:
                yield node.lineno, str(node.module)
            yield from (
                (node.lineno, f"{node.module}.{a.name}")
                for a in node.names
                if f"{node.module}.{a.name}" in UNSAFE_CALLS
            )
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in UNSAFE_CALLS:
                yield node.lineno, ast.unparse(node.func)
            for keyword in node.keywords:
                false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in UNSAFE_KEYWORDS and not false:
                    yield node.lineno, f"{keyword.arg}={ast.unparse(keyword.value)}"


def test_nothing_loads_pickles_or_trusts_remote_code() -> None:
    found = [
        f"{module.path.relative_to(ROOT)}:{line} {what}" for module in modules() for line, what in unsafe(module.tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "def f():\n    import dill",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=flag)",
        "subprocess.run('ls', shell=True)",
        "eval(text)",
    ],
)
def test_each_unsafe_way_is_found(code: str) -> None:
    assert list(unsafe(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["model.eval()", "np.load(p, allow_pickle=False)", "from_pretrained(p, trust_remote_code=False)"]
)
def test_its_safe_neighbour_passes(code: str) -> None:
    assert not list(unsafe(ast.parse(code)))


# Written so that this file does not match itself.
MACHINE = re.compile(r"/(?:work|root|home)/[a-z][\w.-]+|/Users/[a-z]\w+|/opt/(?:wheels|pypi)", re.IGNORECASE)
HOSTS = re.compile(
    r"(?:pypi\.org|pythonhosted|registry\.npmjs|deb\.debian|download\.pytorch|index-url\s+\S*http)", re.IGNORECASE
)
INVENTED = {"/home/alice"}
PAGE = re.compile(r"\b[\w-]+\.md\b|DESIGN \d")
SAYS_IT_ITSELF = {Path("tests/shape/test_safety.py")}


def test_no_tracked_file_names_a_machine_or_a_package_index() -> None:
    found = []
    for path, text in tracked_text():
        name = path.relative_to(ROOT)
        if name in SAYS_IT_ITSELF or name.suffix in (".jsonl", ".safetensors") or name.name == "tokenizer.json":
            continue
        hits = [hit for pattern in (MACHINE, HOSTS) for hit in pattern.findall(text) if not _invented(hit)]
        found += [f"{name}: {hit}" for hit in hits]
    assert found == []


def test_the_code_cites_no_page_that_users_do_not_have() -> None:
    had = {path.name for path in tracked_files()} | {"report.md"}
    cited = [(module.path, page) for module in modules() for page in PAGE.findall(module.path.read_text())]
    assert [f"{path.relative_to(ROOT)}: {page}" for path, page in cited if page not in had] == []


def _invented(hit: str) -> bool:
    return any(hit.startswith(name) for name in INVENTED)


def test_the_locks_pin_every_line_by_hash_and_leave_torch_out() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        requirements = re.split(r"\n(?=\S)", text.strip())
        assert requirements
        for block in requirements:
            assert re.match(r"[a-z0-9.-]+==\S+", block), block[:80]
            assert "--hash=sha256:" in block, block[:80]
        assert not re.search(r"^(torch|triton|nvidia-\S+)==", text, re.MULTILINE)


def test_no_tracked_file_is_huge_or_a_pickle() -> None:
    assert [str(p.relative_to(ROOT)) for p in tracked_files() if p.stat().st_size > 9_000_000] == []
    assert [
        str(p.relative_to(ROOT))
        for p in tracked_files()
        if p.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".npy")
    ] == []
