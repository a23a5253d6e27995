"""docs/recipes.md holds every key of a recipe, as the schema has it now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def keys() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_keys", DOCS / "make_keys.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_keys_is_that_of_the_schema(keys: ModuleType) -> None:
    page = (DOCS / "recipes.md").read_text()
    assert keys.updated(page) == page, "run: python docs/make_keys.py"


def test_every_key_has_its_row_and_its_meaning(keys: ModuleType) -> None:
    from bloomery.recipes.schema import Recipe
    from bloomery.recipes.sections import SharedSource

    table = keys.key_tables()
    for model in (Recipe, SharedSource):
        for key in model.model_fields:
            [*_, text] = next(row for row in table.splitlines() if row.startswith(f"| `{key}` |")).split(" | ")
            assert len(text) > 10, key


def test_a_page_that_fell_behind_is_written_anew(keys: ModuleType) -> None:
    old = f"before\n{keys.BEGIN}\nold\n{keys.END}\nafter\n"
    assert keys.updated(old) == keys.updated(keys.updated(old)) != old
    assert keys.updated(old).startswith("before\n") and keys.updated(old).endswith("\nafter\n")
