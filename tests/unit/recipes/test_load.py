"""Laws of reading recipes: what is refused names file, line and key; overrides and `extends` lay keys over keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.recipes.load import Loaded, load_recipe, recipe_from, with_changes

Load = Callable[..., Loaded]
HEAD = "family: tiny\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEAD + "budgett: 20M tokens\n", 2, r"no key `budgett` \(did you mean `budget`\?\)"),
        (HEAD + "data:\n  domain: a\n  shar: 30%\n", 4, r"no key `data.shar` \(did you mean `share`\?\)"),
        (HEAD + "data:\n  domain:\n    - {pth: a}\n", 4, r"no key `data.domain.0.pth` \(did you mean `path`\?\)"),
        (HEAD + "data: {domain: a}\nbudget: 20M\n", 3, "`budget: 20M` has no unit we know"),
        (HEAD + "budget: 20M tokenz\n", 2, r"did you mean `tokens`\?"),
        (HEAD + "data:\n  share: 30\n", 3, "`data.share: 30` is outside 0 to 100 %"),
        (HEAD + "schedule: {warmup: 2 epochs}\n", 2, "`schedule.warmup: 2 epochs` is in epochs"),
        (HEAD + "optim: {batch: 3 steps}\n", 2, "`optim.batch: 3 steps` is in steps"),
        (HEAD + "memory: {limit: 8}\n", 2, "`memory.limit: 8` is not a size"),
        (
            HEAD + "objective: ppo\n",
            2,
            "`objective: ppo` must be 'auto', 'text', 'sft', 'dpo', 'ipo', 'kto', 'orpo' or 'rl'",
        ),
        (HEAD + "rollouts: {grup: 4}\n", 2, r"no key `rollouts.grup` \(did you mean `group`\?\)"),
        (HEAD + "keep:\n  hold: true\n", 2, "`keep.hold` holds a budget, and none is set"),
        (HEAD + "keep: {general: 0%, hold: true}\n", 2, "leaves nothing to steer by"),
        (HEAD + "keep: {general: 1%, hold: true, replay: [50%, 20%]}\n", 2, "are no bounds"),
        (HEAD + "keep: {general: 1%, hold: true, replay: [0%, 20%]}\n", 2, "the least, at 1 % or above"),
        (HEAD + "keep: {general: 1%, hold: true, rate: 1%}\n", 2, "stops the run from learning"),
        (HEAD + "data:\n  curated: {web: 50%, code: 40%}\n", 3, "sum to 90 %, not 100 %"),
        (HEAD + "seeds: 0\n", 2, "names no distinct seeds"),
        (HEAD + "phases: [{name: a, length: 50%}]\n", 2, "lengths of `phases` sum to 50%"),
        (HEAD + "schedule: {lr: .inf}\n", 2, "`schedule.lr: inf`: input should be a finite number"),
        (HEAD + "optim:\n  clip: .nan\n", 3, "`optim.clip: nan`: input should be a finite number"),
        (HEAD + "optim: {betas: [0.9, .nan]}\n", 2, "`optim.betas.1: nan`: input should be a finite number"),
        (HEAD + "optim: {betas: [2, 3]}\n", 2, r"`optim.betas.0: 2`: input should be less than 1"),
        (HEAD + "lora: {alpha: .inf}\n", 2, "`lora.alpha: inf`: input should be a finite number"),
        (HEAD + "preference: {beta: .inf}\n", 2, "`preference.beta: inf`: input should be a finite number"),
        (HEAD + "data: {share: .nan}\n", 2, "`data.share: nan` is outside"),
        (HEAD + "data: {repetition_cap: .inf}\n", 2, "`data.repetition_cap: inf`: input should be a finite number"),
        (HEAD + "seed: 99999999999999999999\n", 2, "`seed: 99999999999999999999`: input should be less than or equal"),
        (HEAD + "seeds: [1, 4294967296]\n", 2, "goes beyond 4294967295"),
        (HEAD + "seeds: 99999999999\n", 2, "`seeds: 99999999999` is a training each"),
        ("scaffold:\n  depth: true\n", 2, "`scaffold.depth: true` is no number"),
        (HEAD + "seed: true\n", 2, "`seed: true` is no number"),
        (HEAD + "data: {repetition_cap: no}\n", 2, "`data.repetition_cap: (false|no)`"),
        (HEAD + "schedule: {lr: fast}\n", 2, "`schedule.lr: fast`: input should be a valid number"),
        (HEAD + "schedule: {lr: -1}\n", 2, "greater than 0"),
        (HEAD + "schedule: {kind: linear, anneal_by: merge}\n", 2, "`kind: linear` does not hold it"),
        (HEAD + "schedule: {final: 0, anneal_by: merge}\n", 2, "`final` says how the rate falls"),
        (HEAD + "name: ../up\n", 2, "`name: ../up`"),
        (HEAD + "start: midtrained\nrevision: v9\n", 3, "`revision: v9` belongs to a Hub `model`"),
        ("start: some-run\nrevision: v9\n", 2, "`revision: v9` belongs to a Hub `model`"),
        ("scaffold: {depth: 2}\nrevision: v9\n", 2, "`revision: v9` belongs to a Hub `model`"),
        (HEAD + "model: x\n", 1, "both `family` and `model`"),
        ("budget: 2M tokens\n", 1, "neither `family` nor `model`"),
        ("", 1, "is empty"),
        ("- family\n", 1, "is not a mapping"),
        (HEAD + "extends: nowhere.yaml\n", 2, "`extends: nowhere.yaml`: there is no recipe"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_line_and_key(recipe: Load, text: str, line: int, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        recipe(text)
    assert caught.value.where is not None
    assert (Path(caught.value.where.path).name, caught.value.where.line) == ("recipe.yaml", line)
    assert caught.value.fix


def test_overrides_win_and_are_typed_like_yaml(recipe: Load) -> None:
    loaded = recipe(
        HEAD + "data: {domain: [a, b]}\n", "data.share=30%", "seeds=[4, 5]", "data.domain.1.path=c", "trusted=true"
    )
    assert loaded.recipe.data.share == 0.3
    assert loaded.recipe.seed_list() == [4, 5]
    assert [source.path for source in loaded.recipe.data.domain] == ["a", "c"]


def test_a_bad_override_is_named_as_from_the_command_line(recipe: Load) -> None:
    with pytest.raises(InputError, match=r"`data\.share: 300` is outside") as caught:
        recipe(HEAD + "data: {domain: a, share: 20%}\n", "data.share=300")
    assert str(caught.value).startswith("command line: ")
    with pytest.raises(InputError, match=r"`data\.share` is no override"):
        recipe(HEAD, "data.share")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("a.b.c=", "there is no key `a`"),
        ("optim.foo.bar=1", "there is no key `optim.foo`"),
        ("phases=[{name: a, length: 50%}]", "lengths of `phases` sum to 50%"),
        ("phases=[{name: a}]", "`phases.0.length` is missing"),
        ("model=x", "both `family` and `model`"),
        ("data.domain=[", "expected"),
        ("schedule.lr=.inf", "finite number"),
    ],
)
def test_an_override_that_cannot_work_is_named_as_from_the_command_line(recipe: Load, override: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        recipe(HEAD + "budget: 2M tokens\n", override)
    assert caught.value.where is not None and caught.value.where.path == "command line"


def test_null_takes_a_key_away(recipe: Load) -> None:
    assert recipe(HEAD + "budget: 2M tokens\n", "budget=null").recipe.budget is None


def test_extends_lays_section_over_section_and_replaces_lists(here: Path, recipe: Load) -> None:
    (here / "base.yaml").write_text("family: tiny\ndata: {domain: [a, b], share: 20%}\nseed: 7\n")
    loaded = recipe("extends: base.yaml\ndata: {domain: [c]}\n")
    assert [source.path for source in loaded.recipe.data.domain] == ["c"]
    assert (loaded.recipe.data.share, loaded.recipe.seed) == (0.2, 7)
    assert str(loaded.place("data.share")).endswith("base.yaml:2")


def test_paths_of_an_extended_recipe_stay_relative_to_its_own_folder(here: Path, recipe: Load) -> None:
    (here / "shared").mkdir()
    (here / "shared" / "base.yaml").write_text(
        "family: tiny\ndata: {domain: [a.jsonl, {path: s3://b/c}]}\neval: d.jsonl\n"
    )
    loaded = recipe("extends: shared/base.yaml\n")
    assert [s.path for s in loaded.recipe.data.domain] == [str(here / "shared" / "a.jsonl"), "s3://b/c"]
    assert loaded.recipe.eval.domain is not None
    assert loaded.recipe.eval.domain[0].path == str(here / "shared" / "d.jsonl")


def test_a_circle_of_extends_is_refused(here: Path, recipe: Load) -> None:
    (here / "other.yaml").write_text("extends: recipe.yaml\n")
    with pytest.raises(InputError, match=r"circle: recipe.yaml > other.yaml > recipe.yaml"):
        recipe("extends: other.yaml\nfamily: tiny\n")


def test_an_unknown_recipe_is_answered_with_the_nearest_shipped_one(here: Path) -> None:
    with pytest.raises(InputError, match=r"no recipe `demmo` \(did you mean `demo`\?\)"):
        load_recipe("demmo")


def test_a_mapping_made_in_python_is_checked_the_same_way(here: Path) -> None:
    assert recipe_from({"family": "tiny", "budget": "2M tokens"}).recipe.family == "tiny"
    with pytest.raises(InputError, match="no key `famly`"):
        recipe_from({"famly": "tiny"})


def test_a_step_of_a_pipeline_changes_only_its_own_keys(recipe: Load) -> None:
    loaded = recipe(HEAD + "data: {domain: a, share: 20%}\n")
    changed = with_changes(loaded, {"objective": "sft", "data.share": "60%"})
    assert (changed.recipe.objective, changed.recipe.data.share) == ("sft", 0.6)
    assert [s.path for s in changed.recipe.data.domain] == ["a"]
    assert loaded.recipe.data.share == 0.2


def test_the_text_of_a_recipe_means_the_same_in_another_folder(here: Path, recipe: Load) -> None:
    (here / "base.yaml").write_text("family: tiny\ndata: {domain: [a.jsonl], share: 20%}\n")
    loaded = recipe("extends: base.yaml\nschedule: {lr: 1e-5}\nname: no\n", "seeds=[1, 2]")
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "copy.yaml").write_text(loaded.text())
    copy = load_recipe(here / "elsewhere" / "copy.yaml").recipe
    assert copy.data.domain[0].path == str(here / "a.jsonl")
    assert copy.model_copy(update={"data": loaded.recipe.data}) == loaded.recipe.model_copy(update={"extends": None})
