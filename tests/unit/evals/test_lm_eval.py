"""lm-eval's and Inspect's tasks on our engine; lm-eval's own model is the reference."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from bloomery.core.resources import families_dir
from bloomery.engine.native import NativeEngine
from bloomery.evals.runner import evaluate
from bloomery.evals.suites import Suite
from bloomery.models.load import load_model

ROOT = Path(__file__).resolve().parents[3]
EMBER = families_dir() / "ember" / "posttrained"
pytestmark = pytest.mark.skipif(
    not (EMBER / "model.safetensors").is_file(), reason="ember's trained weights are not in families/ember"
)


def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_lm_eval", ROOT / "bench" / "lm_eval.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_three_tasks_have_lm_evals_own_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="needs the `eval` extra: pip install 'bloomery[eval]'")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    module = bench()
    monkeypatch.setattr(module, "ROWS", 12)
    tasks = module.write_tasks(tmp_path)
    ours, theirs = module.ours(EMBER, tasks, tmp_path), module.theirs(EMBER, tasks, tmp_path)
    for task in tasks:
        figures = {
            key: value for key, value in theirs[task].items() if isinstance(value, float) and "stderr" not in key
        }
        assert figures
        assert {key: ours[task][key] for key in figures} == pytest.approx(figures, rel=1e-5)
    loaded = load_model(EMBER)
    suite = Suite("s", "lm_eval", [], "general", tasks=(tasks[0],), include=tmp_path)
    found = evaluate(NativeEngine(loaded), loaded.tokenizer, [suite]).suites[f"s/{tasks[0]}"]
    assert found.value == pytest.approx(theirs[tasks[0]]["acc,none"])
    assert found.own["acc"][0] == pytest.approx(found.value)


def test_an_inspect_task_is_answered_and_scored(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="needs the `eval` extra: pip install 'bloomery[eval]'")
    (tmp_path / "sums.py").write_text(
        "from inspect_ai import Task, task\n"
        "from inspect_ai.dataset import Sample\n"
        "from inspect_ai.scorer import match\n\n"
        "@task\n"
        "def sums():\n"
        "    rows = [Sample(input=f'What is {n} plus 2?', target=str(n + 2)) for n in range(1, 5)]\n"
        "    return Task(dataset=rows, scorer=match(location='any'))\n"
    )
    loaded = load_model(EMBER)
    suite = Suite("s", "inspect", [], "skills", tasks=(f"{tmp_path / 'sums.py'}@sums",), trusted=True)
    found = evaluate(NativeEngine(loaded), loaded.tokenizer, [suite]).suites["s/sums"]
    assert [record.reference for record in found.records] == ["3", "4", "5", "6"]
    assert found.own["match accuracy"][0] == pytest.approx(found.value)
    assert found.value > 0
