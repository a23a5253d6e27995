"""The generated parts of pages are what their scripts write now: recipe keys, ember's stages and mixes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def keys() -> ModuleType:
    return script("make_keys")


def test_the_table_of_keys_is_that_of_the_schema(keys: ModuleType) -> None:
    page = (DOCS / "recipes.md").read_text()
    assert keys.updated(page) == page, "run: python docs/make_keys.py"


def test_every_key_has_its_row_and_its_meaning(keys: ModuleType) -> None:
    from bloomery.recipes.data_section import SharedSource
    from bloomery.recipes.schema import Recipe

    table = keys.key_tables()
    for model in (Recipe, SharedSource):
        for key in model.model_fields:
            [*_, text] = next(row for row in table.splitlines() if row.startswith(f"| `{key}` |")).split(" | ")
            assert len(text) > 10, key


def test_a_page_that_fell_behind_is_written_anew(keys: ModuleType) -> None:
    old = f"before\n{keys.BEGIN}\nold\n{keys.END}\nafter\n"
    assert keys.updated(old) == keys.updated(keys.updated(old)) != old
    assert keys.updated(old).startswith("before\n") and keys.updated(old).endswith("\nafter\n")


def test_stages_and_mixes_of_ember_are_those_of_its_files() -> None:
    page = (DOCS / "ember.md").read_text()
    assert script("make_ember").updated(page) == page, "run: python docs/make_ember.py"


def test_figures_of_ember_are_written_between_their_marks() -> None:
    ember = script("make_ember")
    page = ember.replaced((DOCS / "ember.md").read_text(), ember.FIGURES, "| a |")
    assert f"{ember.FIGURES}\n\n| a |\n\n{ember.END}" in page
    assert page.rstrip().endswith("must be measured there.")


def test_figures_are_of_every_stage_with_weights_and_of_every_skill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import bloomery
    from bloomery.evals.results import EvalResult, Record, SuiteResult
    from bloomery.families.registry import Family, load_family
    from bloomery.recipes.measured import Evaluation

    def measured(model: str) -> Evaluation:
        text = SuiteResult("documentation", "bpb", "general", (Record("a", nats=6.9314718, bytes=10),), 0.0)
        answers = (Record("b", "dates", 1.0), Record("c", "dates", 0.0), Record("d", "copy", 1.0))
        skills = SuiteResult("skills", "generate", "skills", answers, 0.0)
        suites = (text, skills) if model.endswith("posttrained") else (text,)
        return Evaluation(EvalResult(model, {suite.name: suite for suite in suites}, 0.0))

    monkeypatch.setattr(bloomery, "evaluate", measured, raising=False)
    shipped = load_family("ember")
    family = Family(shipped.file, tmp_path, shipped.path, shipped.mixes)
    for stage in ("pretrained", "posttrained"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "model.safetensors").touch()
    text = script("make_ember").figures(family)
    assert "| `pretrained` | 1.000 |" in text and "`midtrained`" not in text
    assert "| dates | 2 | 50% |" in text and "| copy | 1 | 100% |" in text
