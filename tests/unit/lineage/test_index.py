from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.files import building_folder, write_json
from bloomery.lineage import index
from bloomery.lineage.listing import list_models
from bloomery.lineage.parents import about_made, read_made
from bloomery.lineage.provenance import Start, gather, model_hash
from bloomery.lineage.rundir import RunFolder

RECIPE = "family: ember\n"
OUTSIDE = Start("ember/midtrained", None, None, "0" * 64)


def make_run(
    root: Path, name: str, start: Start = OUTSIDE, status: str | None = "within", model: bool = True
) -> RunFolder:
    """A run that ended as `status` says (None: was killed) and exported a model."""
    run = RunFolder.create(root, name, recipe=RECIPE)
    with run.writing() as log:
        log.write("provenance", **gather(start, RECIPE, {"handbook": "abc"}, {"data": 1}))
        log.write("step", step=3, tokens=3000, loss=1.0)
        if status:
            log.write("finished", status=status)
    if model:
        with building_folder(run.model, {"run": name}) as building:
            (building / "config.json").write_text(f'{{"name": "{name}"}}')
    return run


def facts(root: Path) -> list[dict[str, Any]]:
    return [{"name": r.name, "status": r.status, "step": r.step, "tokens": r.tokens} for r in index.runs(root)]


def test_the_index_says_what_the_folders_say(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", status=None, model=False)
    RunFolder.create(tmp_path, "c", recipe=RECIPE)
    assert {f["name"]: f["status"] for f in facts(tmp_path)} == {"a": "within", "b": "interrupted", "c": "new"}
    assert index.show(tmp_path, "a").step == 3
    assert index.show(tmp_path, "a").tokens == 3000
    assert [m.name for m in index.models(tmp_path)] == ["a"]


def test_a_deleted_index_comes_back_the_same(tmp_path: Path) -> None:
    for name in "abc":
        make_run(tmp_path, name)
    before = index.runs(tmp_path)
    (tmp_path / index.FILE).unlink()
    assert index.runs(tmp_path) == before
    assert index.rebuild(tmp_path) == 3
    assert index.runs(tmp_path) == before


@pytest.mark.parametrize("damage", [b"not a database", b""])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: bytes) -> None:
    make_run(tmp_path, "a")
    before = index.runs(tmp_path)
    (tmp_path / index.FILE).write_bytes(damage)
    assert index.runs(tmp_path) == before


def test_a_flipped_page_is_noticed_or_harmless(tmp_path: Path) -> None:
    for number in range(20):
        make_run(tmp_path, f"run-{number}", model=False)
    before = index.runs(tmp_path)
    data = bytearray((tmp_path / index.FILE).read_bytes())
    data[4096:8192] = bytes(4096)
    (tmp_path / index.FILE).write_bytes(data)
    assert index.runs(tmp_path) == before


def test_the_index_follows_what_changes_in_the_folders(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", status=None)
    assert index.show(tmp_path, "a").status == "interrupted"
    with run.writing() as log:
        assert index.show(tmp_path, "a").status == "running"
        log.write("finished", status="broken")
    write_json(run.report(), {"figures": {"general_bpb": 1.5, "note": "text"}})
    assert index.show(tmp_path, "a").status == "broken"
    assert index.show(tmp_path, "a").figures == {"general_bpb": 1.5}
    shutil.rmtree(run.path)
    assert index.runs(tmp_path) == []


def test_a_root_without_runs_has_none(tmp_path: Path) -> None:
    assert index.runs(tmp_path / "nowhere") == []
    assert index.models(tmp_path) == []


def test_a_folder_of_the_users_own_is_read_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    RunFolder.at(tmp_path / "mine", recipe=RECIPE)
    assert [record.name for record in index.runs(tmp_path)] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_run_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    make_run(tmp_path, "handbook")
    with pytest.raises(InputError, match="did you mean `handbook`"):
        index.show(tmp_path, "handbok")


def test_ancestry_goes_back_to_the_outside_start(tmp_path: Path) -> None:
    first = make_run(tmp_path, "first")
    second = make_run(tmp_path, "second", Start.of_folder("first", first.model))
    make_run(tmp_path, "third", Start.of_folder("second", second.model))
    assert index.ancestry(tmp_path, "third") == ("second", "first", "ember/midtrained")
    assert next(m for m in index.models(tmp_path) if m.name == "third").ancestry[-1] == "ember/midtrained"


def test_a_namesake_under_another_root_is_not_taken_for_the_parent(tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "first")
    make_run(tmp_path / "here", "first", Start("scaffold"))
    (other.model / "config.json").write_text("{}")
    make_run(tmp_path / "here", "child", Start(str(other.model), str(other.model), "first", "f" * 64))
    assert index.ancestry(tmp_path / "here", "child") == (str(other.model),)


def test_retention_learns_who_starts_from_a_checkpoint(tmp_path: Path) -> None:
    parent = make_run(tmp_path, "parent")
    with building_folder(parent.checkpoints / "step-00000003", {"step": 3}) as building:
        (building / "state.json").write_text("{}")
    start = Start.of_folder("parent", parent.checkpoints / "step-00000003")
    make_run(tmp_path, "child", start, model=False)
    assert start.run == "parent"
    assert index.who_starts_from(tmp_path, parent.checkpoints / "step-00000003") == ["child"]
    assert index.who_starts_from(tmp_path, parent.checkpoints / "step-00000002") == []
    assert index.who_starts_from(tmp_path, parent.model) == []


def test_a_run_whose_log_cannot_be_read_holds_every_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path, "odd", model=False)
    run.events.write_text("{not json}\n")
    assert index.who_starts_from(tmp_path, tmp_path / "any") == ["odd"]
    assert "JSONDecodeError" in str(index.show(tmp_path, "odd").damage)


def test_a_models_hash_changes_with_any_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 16)
    before = model_hash(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 15 + b"\1")
    assert model_hash(tmp_path) != before
    with pytest.raises(InputError, match="holds no model"):
        model_hash(tmp_path / "nowhere")


def test_a_run_is_shown_by_its_folder_wherever_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "there" / "runs", "first")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (str(run.path.resolve()), "../there/runs/first"):
        record = index.show(Path("runs"), name)
        assert (record.name, record.path) == ("first", str(run.path.resolve()))
    with pytest.raises(InputError, match=r"there is no run .*second"):
        index.show(Path("runs"), "../there/runs/second")


def make_merge(folder: Path, *parents: Start) -> Path:
    with building_folder(folder, {"kind": "model", **about_made("graft, strength 1", parents, "toy", "post")}) as made:
        (made / "config.json").write_text("{}")
    return folder


def test_a_merged_model_names_all_its_parents_and_what_they_were_made_from(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    trained, later = Start.of_folder("a", run.model), Start("toy/post", None, None, "1" * 64)
    make_merge(tmp_path / "both", later, trained, OUTSIDE)
    found = {model.name: model for model in index.models(tmp_path)}
    assert found["both"].parents == ("toy/post", "a", "ember/midtrained")
    assert found["both"].ancestry == ("toy/post", "a", "ember/midtrained") and found["a"].parents == ()
    assert list_models(tmp_path).rows()[1][1] == "toy/post + a + ember/midtrained"
    make_run(tmp_path, "next", Start.of_folder("both", tmp_path / "both"))
    assert index.ancestry(tmp_path, "next") == ("both", "toy/post", "a", "ember/midtrained")


def test_what_a_re_entry_chose_is_listed_by_its_name(tmp_path: Path) -> None:
    make_merge(tmp_path / "early.reenter" / "model", OUTSIDE, Start("x", None, None, "2" * 64))
    assert [(m.name, m.parents) for m in index.models(tmp_path)] == [("early.reenter", ("ember/midtrained", "x"))]


def test_a_parent_is_in_use_as_a_start_is(tmp_path: Path) -> None:
    run, other = make_run(tmp_path, "a"), make_run(tmp_path, "b")
    make_merge(tmp_path / "both", OUTSIDE, Start.of_folder("a", run.model))
    assert index.who_starts_from(tmp_path, run.model) == ["both"] == index.who_starts_from(tmp_path, run.path)
    assert index.who_starts_from(tmp_path, other.model) == []


def test_a_manifest_of_a_merge_holds_no_path(tmp_path: Path) -> None:
    secret = tmp_path / "private"
    make_merge(secret, OUTSIDE)
    made = make_merge(tmp_path / "both", Start.of_folder(str(secret), secret))
    assert str(tmp_path) not in (made / "manifest.json").read_text()
    (made / "manifest.json").write_text("{")
    assert read_made(made) is None
