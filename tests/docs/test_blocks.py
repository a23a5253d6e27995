"""What the documentation shows works: Python blocks run, marked shell blocks run, recipes pass the schema.

A shell block runs when the line before it is `<!-- run -->`; a Python block runs unless it is `<!-- shown only -->`;
either waits for ember's trained weights when it is `<!-- run with weights -->`. Every YAML block with a `family` or
`model` is a recipe, every one with `checkpoints` a family file. Blocks of one page run in order, in one scratch folder
that sees the shipped recipes and families, with a cache of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import commands as commands_forked
from typer import BadParameter
from typer.core import TyperGroup
from typer.main import get_command

from bloomery.cli import app
from bloomery.core.errors import InputError
from bloomery.recipes.load import load_recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WEIGHTS = ROOT / "families" / "ember" / "midtrained-warm" / "model.safetensors"
SECONDS = 100
REFUSED: Any = BadParameter.__base__
"""What a command line that cannot be parsed raises: the parser behind typer, which typer may carry in itself."""

_BLOCK = re.compile(
    r"(?P<mark><!-- [a-z ]+ -->)?\n*^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    mark: str

    @property
    def runs(self) -> bool:
        if self.language == "python":
            return self.mark != "<!-- shown only -->"
        return self.language in ("bash", "sh") and (self.mark == "<!-- run -->" or self.needs_weights)

    @property
    def needs_weights(self) -> bool:
        return self.mark == "<!-- run with weights -->"

    @property
    def is_family(self) -> bool:
        return self.language == "yaml" and bool(re.search(r"^checkpoints:$", self.code, re.MULTILINE))

    @property
    def is_recipe(self) -> bool:
        return self.language == "yaml" and bool(re.search(r"^(family|model):", self.code, re.MULTILINE))


def blocks(text: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(match["language"], match["code"], line, match["mark"] or "")


def argv(block: Block) -> list[str]:
    if block.language == "python":
        return ["python", "-c", block.code]
    return ["bash", "-euo", "pipefail", "-c", block.code]


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the commands `bloomery` and `python`."""
    with commands_forked(tmp_path_factory.mktemp("forked"), SECONDS) as folder:
        yield folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder that looks like a checkout to a reader."""
    for name in ("recipes", "families", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def ids(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


RUNNING = [page for page in PAGES if any(block.runs for block in blocks(page.read_text()))]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", RUNNING, ids=ids(RUNNING))
def test_every_block_of_a_page_runs(page: Path, scratch: Path, forked: Path) -> None:
    own = {"PATH": f"{forked}{os.pathsep}{os.environ['PATH']}", "BLOOMERY_CACHE": str(scratch / ".cache")}
    left_out = 0
    for block in filter(lambda b: b.runs, blocks(page.read_text())):
        if block.needs_weights and not WEIGHTS.is_file():
            left_out += 1
            continue
        done = subprocess.run(
            argv(block), cwd=scratch, env=os.environ | own, capture_output=True, text=True, timeout=SECONDS
        )
        where = f"{page.relative_to(ROOT)}:{block.line}"
        assert done.returncode == 0, (
            f"{where} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
    if left_out:
        pytest.skip(f"{left_out} blocks need ember's trained weights, which are not in families/ember yet")


def commands(block: Block) -> Iterator[list[str]]:
    """The words of every line of a shell block, comments left out, continued lines joined."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def parsed(words: list[str]) -> None:
    """Parse a call of `bloomery` as its command line does, verb by verb, and run nothing. Raises what that raises."""
    command: Any = get_command(app)
    context = command.make_context("bloomery", words)
    while isinstance(command, TyperGroup):
        _, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command, context = found, found.make_context(found.name, words, parent=context)
    load_recipe_of(command.name, context.params)


def load_recipe_of(verb: str | None, given: dict[str, Any]) -> None:
    """A shipped recipe with its overrides passes the schema."""
    shipped = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    if verb in ("run", "explain") and given.get("recipe") in shipped:
        load_recipe(given["recipe"], given.get("changes") or ())


SHOWN = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}:{block.line} {' '.join(words[:3])}")
    for page in PAGES
    for block in blocks(page.read_text())
    if block.language in ("bash", "sh") and not block.runs
    for words in commands(block)
]


@pytest.mark.parametrize("words", SHOWN)
def test_a_shell_line_that_does_not_run_here_is_one_that_would(words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif "bloomery.cli" in words:
        parsed(words[words.index("bloomery.cli") + 1 :])
    else:
        assert words[0] == "bloomery", words
        parsed(words[1:])


@pytest.mark.parametrize(
    "line", ["bloomery rum demo", "bloomery run", "bloomery ask demo --size 3", "bloomery run demo budgit=3"]
)
def test_a_shell_line_that_would_not_is_found(line: str) -> None:
    with pytest.raises((REFUSED, InputError)):
        parsed(shlex.split(line)[1:])


RECIPES = [page for page in PAGES if any(block.is_recipe for block in blocks(page.read_text()))]


@pytest.mark.parametrize("page", RECIPES, ids=ids(RECIPES))
def test_every_recipe_on_a_page_passes_the_schema(page: Path, tmp_path: Path) -> None:
    for block in filter(lambda b: b.is_recipe, blocks(page.read_text())):
        recipe = tmp_path / f"line-{block.line}.yaml"
        recipe.write_text(block.code)
        load_recipe(recipe)


def test_every_family_file_on_a_page_is_read(tmp_path: Path) -> None:
    from bloomery.families.registry import read_family

    found = [block for page in PAGES for block in blocks(page.read_text()) if block.is_family]
    for block in found:
        file = tmp_path / f"{block.code.splitlines()[0].removeprefix('name: ')}.yaml"
        file.write_text(block.code)
        assert read_family(file).file.checkpoints
    assert found


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []


def test_blocks_and_their_marks_are_found() -> None:
    shell = "a\n\n<!-- run -->\n```bash\nls\n```\n\n```bash\nrm x\n```\n"
    page = shell + "\n```python\n1\n```\n\n<!-- shown only -->\n\n```python\n2\n```\n"
    found = list(blocks(page))
    assert [(b.language, b.code, b.runs) for b in found] == [
        ("bash", "ls\n", True),
        ("bash", "rm x\n", False),
        ("python", "1\n", True),
        ("python", "2\n", False),
    ]
    assert found[0].line == 5
