"""Laws of `explain`: estimates are marked, counts are remembered, torch stays away, everything is JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from tokens import tokenizer_folder

import bloomery
from bloomery.recipes.counts import cache_dir, known_counts, remember
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.resolve import resolve
from bloomery.recipes.show import print_explanation

from .conftest import CPU, rows

Load = Callable[..., Loaded]
TEXT = "family: tiny\nstart: hot\ndata: {domain: text.jsonl, share: 40%}\nbudget: 10k tokens\narms: [domain-only]\n"


def printed(loaded: Loaded) -> str:
    console = Console(width=110, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - as long as the console
    print_explanation(explain(loaded, CPU), console)
    return console.export_text()


def test_everything_a_person_decides_by_is_printed(recipe: Load) -> None:
    text = printed(recipe(TEXT))
    for expected in (
        "text",
        "web",
        "epochs",
        "blend 79",
        "domain-only 32",
        "memory",
        "disk",
        "time",
        "nothing is refused",
    ):
        assert expected in text, expected


def test_refusals_are_printed_with_their_remedy(recipe: Load) -> None:
    text = printed(recipe(TEXT + "lora: {rank: 4}\n"))
    assert "refused" in text
    assert "fix: add `method: lora`" in text
    assert "nothing is refused" not in text


def test_columns_that_were_guessed_are_shown_and_stated_ones_are_not(recipe: Load, here: Path) -> None:
    rows(here / "text.jsonl", [{"body": "iron and charcoal " * 20, "title": "x"} for _ in range(300)])
    assert "columns of text: text <- body (guessed)" in printed(recipe(TEXT))
    stated = TEXT.replace("text.jsonl", "{path: text.jsonl, columns: {text: body}}")
    assert "columns of text" not in printed(recipe(stated))


def test_a_long_file_is_estimated_and_marked(recipe: Load, here: Path) -> None:
    rows(here / "text.jsonl", [{"text": "iron and charcoal " * 20} for _ in range(3000)])
    found = explain(recipe(TEXT), CPU)
    text = next(row for row in found.sources if row.name == "text")
    assert not text.exact
    assert text.tokens is not None
    assert abs(text.tokens / (3000 * 360 / 4) - 1) < 0.1
    assert "≈ " in printed(recipe(TEXT))


def test_counted_tokens_replace_the_estimate_until_the_file_changes(recipe: Load, here: Path) -> None:
    rows(here / "text.jsonl", [{"text": "iron and charcoal " * 20} for _ in range(3000)])
    loaded = recipe(TEXT)
    remember(resolve(loaded), {"text": 123_456, "web": 1}, cache_dir())
    text = next(row for row in explain(loaded, CPU).sources if row.name == "text")
    assert (text.tokens, text.exact) == (123_456, True)
    rows(here / "text.jsonl", [{"text": "iron " * 20} for _ in range(3000)])
    assert "text" not in known_counts(resolve(loaded), cache_dir())


def test_the_explanation_is_json_and_survives_a_recipe_that_does_not_resolve(recipe: Load) -> None:
    whole = json.loads(json.dumps(explain(recipe(TEXT), CPU).to_json()))
    assert whole["can_run"] is True
    assert whole["memory"]["total"] == sum(v for k, v in whole["memory"].items() if k != "total")
    broken = explain(recipe("family: tiny\nstart: nope\ndata: {domain: text.jsonl}\n"), CPU).to_json()
    assert broken["plan"] is None
    assert "no checkpoint `nope`" in broken["problems"][0]


def test_explaining_never_imports_torch(here: Path, recipe: Load) -> None:
    recipe(TEXT)
    code = (
        "import sys; from bloomery.recipes.load import load_recipe; from bloomery.recipes.explain import explain;"
        "explain(load_recipe('recipe.yaml')); print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(bloomery.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here, env=env)
    assert done.stdout.strip() == "[]"


def test_half_a_surrogate_pair_is_refused_by_file_and_line(here: Path, recipe: Load) -> None:
    with open(here / "text.jsonl", "a") as file:
        file.write('{"text": "a \\ud83d b"}\n')
    told = printed(recipe(TEXT))
    assert "text.jsonl:51" in told and "half of a surrogate pair (U+D83D)" in told


def test_half_a_surrogate_pair_where_nothing_is_read_breaks_nothing(here: Path, recipe: Load) -> None:
    with open(here / "text.jsonl", "a") as file:
        file.write('{"text": "a b", "note": "\\ud83d"}\n')
    tokenizer_folder(here / "families" / "tokenizer")
    assert "surrogate" not in printed(recipe(TEXT))
