"""Laws of the registry: shipped and dropped-in families are found, and a file at fault is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.cli import main
from bloomery.core.errors import InputError
from bloomery.families.registry import Family, all_families, family_files, load_family, read_family
from bloomery.families.rules import RULES, choose_start

HEAD = """\
name: tiny
title: Tiny
licence: Apache-2.0
architecture: LlamaForCausalLM
parameters: 100k
context: 128
tokenizer: hub
"""
STAGES = """\
checkpoints:
  pretrained: {repo: a/b, revision: step-9, tokens: 4001B, schedule: {kind: constant, peak: 1e-3}}
  posttrained: {folder: post, stage: post, lr: 0, peak_lr: 1e-3}
"""


def family(folder: Path, text: str) -> Family:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return read_family(path)


def test_ember_is_shipped_with_all_its_stages() -> None:
    ember = load_family("ember")
    assert {"scaffold", "pretrained", "midtrained-warm", "midtrained", "posttrained"} <= set(ember.file.checkpoints)
    heat = {stage: checkpoint.heat() for stage, checkpoint in ember.file.checkpoints.items()}
    assert heat["pretrained"] == "hot"
    assert heat["midtrained-warm"] == "warm"
    assert (heat["midtrained"], heat["posttrained"]) == ("cold", "cold")
    for stage in ember.file.checkpoints:
        assert ember.mix_name(stage) in ember.mixes, stage


def test_a_family_dropped_into_the_project_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "tiny.yaml").write_text(HEAD + STAGES)
    assert {"tiny", "ember"} <= set(family_files())
    assert load_family("tiny").file.checkpoints["pretrained"].tokens == 4_001_000_000_000
    with pytest.raises(InputError, match=r"no family `tinny` \(did you mean `tiny`\?\)"):
        load_family("tinny")


def test_a_stage_the_family_lacks_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint `midtrained`; it has pretrained, posttrained") as caught:
        family(tmp_path, HEAD + STAGES).checkpoint("midtrained")
    assert caught.value.fix == "use `start: pretrained`"


@pytest.mark.parametrize(
    ("name", "stage", "meant"),
    [
        ("olmo3-7b", "long-contxt", "long-context"),
        ("olmo3-7b", "long", "long-context"),
        ("olmo3-7b", "thinkng", "thinking"),
        ("olmo3-7b", "instruct", "posttrained"),
        ("olmo3-7b", "sft", "posttrained"),
        ("olmo3-7b", "annealed", "midtrained"),
        ("olmo2-1b", "long-context", "midtrained"),
        ("llama3-8b", "midtrained", "pretrained"),
        ("marin-32b", "posttrained", "midtrained"),
    ],
)
def test_a_stage_by_another_name_is_answered_with_the_one_that_is_meant(name: str, stage: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        load_family(name).checkpoint(stage)
    assert caught.value.fix == f"use `start: {meant}`"
    with pytest.raises(InputError) as caught:
        load_family(name).checkpoint(stage, "--stage ")
    assert caught.value.fix == f"use `--stage {meant}`"


def test_a_stage_that_means_nothing_is_answered_with_no_choice() -> None:
    with pytest.raises(InputError) as caught:
        load_family("olmo3-7b").checkpoint("final-v2")
    assert caught.value.fix == "use `start:` with one of them"


def test_a_family_without_a_scaffold_is_lent_one() -> None:
    with pytest.raises(InputError) as caught:
        load_family("olmo2-1b").checkpoint("scaffold")
    assert "add `scaffold: {depth: 12}`" in str(caught.value.fix)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The families of a working folder: `tiny`, whose mixes stand beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "families"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(HEAD + STAGES + "curated: mixes.yaml\n")
    (folder / "mixes.yaml").write_text("a:\n  - {name: x, share: 100%, path: p, licence: CC0}\n")
    return folder


def test_a_file_of_mixes_beside_a_family_is_no_family(project: Path) -> None:
    assert {"tiny", "ember"} <= family_files().keys() and "mixes" not in family_files()
    families, faults = all_families()
    assert "tiny" in [family.name for family in families] and faults == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD.replace("tiny", "other") + STAGES, "mine.yaml:1: `name: other` is another name than the file's"),
        ("", "mine.yaml:1: is not the mapping of a family's keys"),
        (HEAD.replace("tiny", "mine") + "checkpoint: {}\n", "`checkpoints` is missing"),
    ],
)
def test_a_file_that_is_no_family_says_why_when_it_is_asked_for(project: Path, text: str, says: str) -> None:
    (project / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_family("mine")
    assert says in str(caught.value)


def test_a_path_is_no_name_of_a_family(project: Path) -> None:
    with pytest.raises(InputError, match=r"there is no family `\.\./families/tiny`"):
        load_family("../families/tiny")


def test_a_file_at_fault_is_told_after_the_other_families(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "mine.yaml").write_text(HEAD + STAGES)
    with pytest.raises(SystemExit) as ended:
        main(("families", "list"))
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert "tiny" in told.out and "ember" in told.out
    assert "mine.yaml:1: `name: tiny` is another name" in told.err


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEAD + STAGES + "colour: red\n", 11, "no key `colour`"),
        (HEAD + "checkpoints: {a: {repo: x/y}}\n", 8, "has no `revision`"),
        (HEAD + "checkpoints: {a: {tokens: 3}}\n", 8, "must have one of `folder` and `repo`"),
        (HEAD + STAGES + "curated:\n  a:\n    - {name: x, share: 50%, path: p}\n", None, "sum to 0.5, not 1"),
        (HEAD + STAGES + "curated:\n  a:\n    - {name: x, share: 100%}\n", 13, "one of `builtin`, `path` and `hf`"),
        (HEAD + STAGES + "eval: [{name: g, role: general, kind: generate, path: p}]\n", 11, "`grader` belongs to"),
        (HEAD + STAGES.replace("lr: 0", "curated: none"), 10, "`checkpoints.posttrained.curated: none` is no mix"),
        (HEAD + STAGES.replace("kind: constant", "kind: flat"), 9, "schedule.kind"),
        (HEAD + STAGES.replace("kind: constant", "kind: cosine"), 9, "`kind: cosine` needs `horizon`"),
        (HEAD + STAGES.replace("4001B", "-3"), 9, "`checkpoints.pretrained.tokens`: -3 is no number"),
        (HEAD + STAGES.replace("4001B", ".inf"), 9, "`checkpoints.pretrained.tokens`: inf is no number"),
        (HEAD.replace("100k", "0") + STAGES, 5, "`parameters: 0`: input should be greater than 0"),
        (HEAD + STAGES.replace("lr: 0", "lr: 1"), 10, "saved at a rate of 1, above 0.001"),
        (HEAD + STAGES.replace("lr: 0", "lr: .nan"), 10, "finite number"),
        (HEAD + "transformers: abc\n" + STAGES, 8, "`transformers: abc`: string should match"),
        (HEAD + STAGES.replace("a/b", "a/b c/d"), 9, "`checkpoints.pretrained.repo: a/b c/d`: string should match"),
    ],
)
def test_a_family_file_at_fault_is_named_with_its_line(tmp_path: Path, text: str, line: int | None, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        family(tmp_path, text)
    assert caught.value.where is not None
    assert caught.value.where.line == line


def test_mixes_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mixes.yaml").write_text("a:\n  - {name: x, share: 100%, path: p, licence: CC0}\n")
    tiny = family(tmp_path, HEAD + STAGES + "curated: mixes.yaml\n")
    assert tiny.mix("a")[0].spec() == {"name": "x", "path": "p"}
    (tmp_path / "mixes.yaml").write_text("a:\n  - {name: x, share: 100%, path: p}\n  - {nam: y}\n")
    with pytest.raises(InputError, match=r"mixes.yaml:3: "):
        family(tmp_path, HEAD + STAGES + "curated: mixes.yaml\n")


def test_the_rules_send_more_text_to_earlier_checkpoints() -> None:
    ember = load_family("ember")
    order = ["pre", "mid", "post"]
    for kind, distance in {(rule.kind, rule.distance) for rule in RULES}:
        stages = [order.index(rule.stage) for rule in RULES if (rule.kind, rule.distance) == (kind, distance)]
        assert stages == sorted(stages, reverse=True), kind
        stage, why = choose_start(ember, kind, 1e5)
        assert stage in ember.file.checkpoints
        assert why


def test_a_rule_for_a_stage_the_family_lacks_takes_the_nearest(tmp_path: Path) -> None:
    stage, why = choose_start(family(tmp_path, HEAD + STAGES), "text", 1e6)
    assert stage == "pretrained"
    assert "no such checkpoint" in why
