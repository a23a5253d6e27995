"""Laws of the Python functions: they are the verbs, import nothing early, and return results a notebook shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

import bloomery
from bloomery import api
from bloomery.core.errors import InputError
from bloomery.recipes.result import RunResult


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a tiny model, rows and a recipe."""
    root = tmp_path_factory.mktemp("api")
    return tiny.workshop(root / "shop", tiny.model_folder(root / "model"))


@pytest.fixture
def there(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shop)
    monkeypatch.setenv("BLOOMERY_CACHE", str(shop / ".cache"))
    return shop


@pytest.fixture(scope="module")
def result(shop: Path) -> Iterator[RunResult]:
    """One run of the tiny recipe, from a dictionary of keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop)
        patch.setenv("BLOOMERY_CACHE", str(shop / ".cache"))
        keys = {
            "model": "tiny",
            "data": {"domain": "domain.jsonl", "curated": ["general.jsonl"], "share": "50%"},
            "budget": "2k tokens",
            "optim": {"batch": "256 tokens"},
            "eval": "heldout.jsonl",
            "memory": {"device": "cpu", "precision": "fp32"},
            "threads": 1,
        }
        yield bloomery.run(keys, {"schedule.lr": 2e-3, "name": "first"}, quiet=True)


def test_every_public_name_is_a_function_of_api() -> None:
    import bloomery.models  # a package of that name must not hide a function

    assert all(callable(getattr(bloomery, name)) for name in bloomery.__all__)
    assert all(getattr(bloomery, name) is getattr(api, name) for name in bloomery.__all__)
    with pytest.raises(AttributeError, match="no attribute `trian`"):
        _ = bloomery.trian


def test_importing_the_package_and_explaining_import_no_torch(there: Path) -> None:
    code = (
        "import sys, bloomery\nassert 'pydantic' not in sys.modules\n"
        "bloomery.explain('recipe.yaml')\nprint([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(bloomery.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=there, env=env)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_file_and_a_dictionary_of_its_keys_make_one_plan(there: Path) -> None:
    from bloomery.core.yaml import load_yaml

    keys, _ = load_yaml(there / "recipe.yaml")
    by_file, by_keys = bloomery.explain("recipe.yaml", {"name": "x"}), bloomery.explain(keys, {"name": "x"})
    assert by_file.plan is not None and by_keys.plan is not None
    assert by_file.plan.to_json() == by_keys.plan.to_json()


def test_changes_go_by_dotted_key_over_the_recipe(there: Path) -> None:
    found = bloomery.explain("recipe.yaml", {"data.share": "25%", "optim": {"clip": 0.5}})
    assert found.plan is not None
    assert found.plan.get("data.share") == 0.25
    assert found.plan.get("optim.clip") == 0.5
    assert found.plan.get("optim.batch_tokens") == 256  # of the recipe: sections are merged


def test_what_explain_lists_run_raises_and_nothing_is_written(there: Path) -> None:
    [problem] = bloomery.explain("recipe.yaml", {"budget": "9M tokens", "data.curated": "none"}).problems
    before = sorted((there / "runs").glob("*"))
    with pytest.raises(InputError, match="epochs") as refused:
        bloomery.run("recipe.yaml", {"budget": "9M tokens", "data.curated": "none"}, quiet=True)
    assert refused.value.message == problem.message
    assert sorted((there / "runs").glob("*")) == before


def test_an_unknown_change_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"no key `data\.shares` \(did you mean `share`\?\)"):
        bloomery.explain({"family": "ember", "data": {"domain": "x.jsonl"}}, {"data.shares": 1})


def test_a_run_returns_how_it_ended_and_shows_its_report(result: RunResult) -> None:
    folder = Path("runs") / "first"
    assert (result.name, result.folder, result.status, result.exit_status) == ("first", folder, "done", 0)
    assert json.loads(json.dumps(result.to_json()))["status"] == "done"
    assert str(result).startswith(result.said) and result.said
    [record] = bloomery.list_runs(result.folder.absolute().parent)
    assert result.figures == record.figures == json.loads(json.dumps(result.to_json()))["figures"]
    assert result.figures["domain_change"] < 0


def test_a_notebook_gets_the_page_in_a_frame(there: Path, result: RunResult) -> None:
    shown = result._repr_html_()
    assert "<iframe srcdoc=" in shown and "&lt;!doctype html&gt;" in shown
    assert "<!doctype" not in shown  # the page stays inside the frame


def test_runs_and_models_read_the_folders(there: Path, result: RunResult) -> None:
    [record] = bloomery.list_runs()
    assert (record.name, record.status) == ("first", "done")
    [model] = bloomery.list_models()
    assert model.name == "first" and Path(model.path).is_dir()


def test_a_model_is_measured_compared_asked_and_exported(there: Path, result: RunResult) -> None:
    folder = bloomery.export("first", "out")
    assert (folder / "config.json").is_file() and (folder / "README.md").is_file()
    measured = bloomery.evaluate("out", data=["heldout.jsonl"])
    [suite] = measured.to_json()["suites"]
    assert suite["name"] == "heldout" and suite["value"] > 0
    assert "heldout" in str(measured) and "<pre>" in measured._repr_html_()
    moved = bloomery.compare("tiny", "out", data=["heldout.jsonl"])
    assert moved.to_json()["domain"]["after"] == pytest.approx(suite["value"])
    assert "domain" in str(moved)
    assert isinstance(bloomery.ask("out", "the order ships", max_new_tokens=3), str)


def test_a_model_becomes_a_file_for_llama_cpp_and_only_a_run_is_pushed(
    there: Path, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, compared = bloomery.export_gguf("tiny", "file", kind="f16")
    assert file.parent == Path("file") and file.read_bytes()[:4] == b"GGUF" and file.name.endswith("-f16.gguf")
    assert compared.kind == "f16" and abs(compared.perplexity_change) < 0.002
    with pytest.raises(InputError, match="`tiny` is no run"):
        bloomery.push("tiny", "hf:owner/name")
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(InputError, match="MY_TOKEN"):
        bloomery.push("first", "hf:owner/name", token="MY_TOKEN")


def test_resuming_a_finished_run_changes_nothing(there: Path, result: RunResult) -> None:
    weights = tiny.weights(result.folder)
    again = bloomery.resume("first", quiet=True)
    assert (again.status, again.exit_status) == ("done", 0)
    assert tiny.weights(result.folder) == weights


def test_a_notebook_shows_explanations_and_lists_as_tables(there: Path, result: RunResult) -> None:
    found = bloomery.explain("recipe.yaml")
    shown = found._repr_html_()
    assert shown.count("<table>") == 3 and "domain</td>" in shown and "nothing is refused" in shown
    refused = bloomery.explain("recipe.yaml", {"data.domain": "<b>.jsonl"})._repr_html_()
    assert "&lt;b&gt;.jsonl` does not exist" in refused and "<b>.jsonl" not in refused
    runs, models = bloomery.list_runs(), bloomery.list_models()
    assert ">first</td>" in runs._repr_html_() and ">done</td>" in runs._repr_html_()
    assert ">tiny</td>" in models._repr_html_()


def test_no_runs_is_an_empty_list(tmp_path: Path) -> None:
    assert bloomery.list_runs(tmp_path / "none") == []
    assert bloomery.list_models(tmp_path / "none") == []
