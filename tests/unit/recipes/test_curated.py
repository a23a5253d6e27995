"""Laws of what is mixed in: the percent form, categories, stand-ins, the floor of replay, licences against use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import by_category
from bloomery.recipes.plan import Plan, Source
from bloomery.recipes.resolve import resolve

from .conftest import CPU, rows

Load = Callable[..., Loaded]
EMBER = "family: ember\nstart: posttrained\nbudget: 10k tokens\n"


@pytest.fixture(autouse=True)
def domain(here: Path) -> None:
    for name in ("own", "more"):
        rows(here / f"{name}.jsonl", [{"text": f"{name} {i} of iron and charcoal " * 9} for i in range(60)])


def planned(recipe: Load, data: str, more: str = "", base: str = EMBER) -> Plan:
    return resolve(recipe(f"{base}data: {{domain: own.jsonl, {data}}}\n{more}"))


def parts(plan: Plan) -> dict[str, float]:
    found: dict[str, float] = {}
    for source in plan.sources:
        if source.role == "curated":
            found[source.kind] = found.get(source.kind, 0.0) + (source.share or 0.0)
    return found


@pytest.mark.parametrize(
    "written",
    [
        "share: 40, curated: {chat: 30, safety: 70}",
        "share: 40%, curated: {chat: 30, safety: 70}",
        "share: 0.4, curated: {chat: 30%, safety: 70%}",
        "share: 40%, curated: {chat: 0.3, safety: 0.7}",
        "share: 40, curated: {chat: 30%, safety: 70}",
        "share: 40, curated: {mix: posttrained, categories: {chat: 30, safety: 70}}",
    ],
)
def test_percents_and_fractions_say_the_same(recipe: Load, written: str) -> None:
    plan = planned(recipe, written)
    assert plan.get("data.share") == pytest.approx(0.4)
    assert parts(plan) == pytest.approx({"chat": 0.3, "safety": 0.7})


def test_percents_may_have_fractions_and_zeros(recipe: Load) -> None:
    plan = planned(recipe, "share: 25, curated: {chat: 99.5, safety: 0.5, documentation: 0}")
    assert parts(plan) == pytest.approx({"chat": 0.995, "safety": 0.005})


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("share: 50, curated: {chat: 30, safety: 60}", "sum to 90 %, not 100 %"),
        ("curated: {chat: 0.3, safety: 0.6}", "sum to 90 %, not 100 %"),
        ("share: 1, curated: {chat: 30, safety: 70}", "may mean 1 % or 100%"),
        ("share: 0.5, curated: {chat: 30, safety: 70}", "may mean 0.5 % or 50%"),
        ("share: 50, curated: {chat: 0.3, safety: 0.7}", "outside 0 to 100 %"),
        ("curated: {chat: -1, safety: 101}", "is no part of a whole"),
        ("curated: {chat: most, safety: 70}", "is no part of a whole"),
        ("curated: {chat: true, safety: 70}", "is no part of a whole"),
        ("curated: {chatt: 30, safety: 70}", r"no category `chatt` \(did you mean `chat`\?\)"),
        ("curated: prozy", r"no curated mix `prozy` \(did you mean `proxy`\?\)"),
    ],
)
def test_what_is_ambiguous_or_does_not_sum_is_refused(recipe: Load, written: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        planned(recipe, written)
    assert refused.value.where is not None and refused.value.where.line == 4


def test_sources_of_one_category_keep_their_proportions() -> None:
    sources = [Source(name, "curated", {}, share, category=kind) for name, share, kind in
               (("a", 0.3, "web"), ("b", 0.1, "web"), ("c", 0.6, "code"))]  # fmt: skip
    found = {s.name: s.share for s in by_category(sources, {"web": 0.5, "code": 0.5})}
    assert found == pytest.approx({"a": 0.375, "b": 0.125, "c": 0.5})
    assert [s.name for s in by_category(sources, {"code": 1.0})] == ["c"]


def test_own_sources_have_categories_too(recipe: Load) -> None:
    own = "curated: {sources: [{path: own.jsonl, name: x, category: web}, {path: more.jsonl, name: y, category: web},"
    plan = planned(recipe, own + " {builtin: safety}], categories: {web: 80, safety: 20}}")
    assert parts(plan) == pytest.approx({"web": 0.8, "safety": 0.2})


def test_a_phase_is_blended_by_category(recipe: Load) -> None:
    more = (
        "phases: [{name: a, length: 50%}, {name: b, length: 50%, curated: {safety: 10, instruction-following: 90}}]\n"
    )
    segment = planned(recipe, "share: 50%", more).arm().segments[1]["share"]
    assert segment == pytest.approx({"own": 0.5, "constraints": 0.45, "safety": 0.05})


def test_a_family_whose_data_is_closed_gets_the_proxy_and_says_so(recipe: Load) -> None:
    plan = planned(recipe, "share: 50%", base="family: qwen3-0.6b\nstart: pretrained\nbudget: 10k tokens\n")
    assert plan.get("curated.mix") == "proxy" and plan.origin("curated.mix") == "family"
    assert "the family's data is closed" in plan.values["curated.mix"].why
    assert {"safety", "instruction-following"} <= set(parts(plan))
    assert plan.get("eval.general") == "replayed"


@pytest.mark.parametrize("word", ["proxy", "embedded", "self"])
def test_any_folder_can_be_blended_with_a_stand_in(recipe: Load, word: str) -> None:
    from bloomery.core.resources import families_dir

    base = f"model: {families_dir() / 'ember' / 'pretrained'}\nbudget: 10k tokens\n"
    found = explain(recipe(f"{base}data: {{domain: own.jsonl, curated: {word}}}\n"), CPU)
    assert found.plan is not None and found.plan.get("curated.mix") == word
    assert any(note.startswith(("proxy:", "self-generated:")) for note in found.notes)
    bare = explain(recipe(f"{base}data: {{domain: own.jsonl}}\nkeep: {{general: 1%}}\n"), CPU)
    assert any("no general data" in str(problem) and "data.curated" in str(problem) for problem in bare.problems)


def test_a_scaffold_has_nothing_to_say_itself(recipe: Load) -> None:
    with pytest.raises(InputError, match="a scaffold has no weights"):
        planned(recipe, "curated: self", base="family: ember\nstart: scaffold\nbudget: 10k tokens\n")


@pytest.mark.parametrize("objective", ["text", "sft", "dpo"])
def test_replay_has_a_floor_in_every_method(recipe: Load, objective: str) -> None:
    text = f"{EMBER}objective: {objective}\ndata: {{domain: own.jsonl, share: 99.5%}}\n"
    told = [str(problem) for problem in explain(recipe(text), CPU).problems]
    assert any("leaves 0.50% to curated data; below 1%" in one and "curated: none" in one for one in told)
    least = [str(p) for p in explain(recipe(text.replace("99.5%", "99%")), CPU).problems]
    none = [str(p) for p in explain(recipe(text.replace("99.5%", "100%, curated: none")), CPU).problems]
    assert not any("to curated data" in one for one in (*least, *none))


def test_the_floor_holds_in_every_phase(recipe: Load) -> None:
    phases = "phases: [{name: a, length: 50%}, {name: b, length: 50%, share: 100%}]\n"
    found = explain(recipe(f"{EMBER}data: {{domain: own.jsonl}}\n{phases}"), CPU)
    assert any("leaves 0.00% to curated data" in str(problem) for problem in found.problems)


def test_no_curated_data_is_a_choice_that_is_told(recipe: Load) -> None:
    found = explain(recipe(f"{EMBER}data: {{domain: own.jsonl, curated: none}}\n"), CPU)
    assert found.can_run and any("neither held back nor measured" in note for note in found.notes)


@pytest.mark.parametrize(("licence", "use", "fits"), [
    ("CC-BY-NC-4.0", "commercial", False), ("CC-BY-NC-4.0", "internal", False), ("CC-BY-NC-4.0", "research", True),
    ("CC-BY-4.0", "commercial", True), ("something", "commercial", True),
])  # fmt: skip
def test_a_licence_that_forbids_the_use_is_refused_by_source(recipe: Load, licence: str, use: str, fits: bool) -> None:
    text = f"{EMBER}use: {use}\ndata: {{domain: [{{path: own.jsonl, licence: {licence}}}]}}\n"
    found = explain(recipe(text), CPU)
    assert found.can_run == fits
    if not fits:
        assert "the source `own`, which is licensed CC-BY-NC-4.0" in str(found.problems[0])
        assert found.problems[0].where is not None
    assert any("is not one we know" in note for note in found.notes) == (licence == "something")


def test_curated_data_is_held_to_the_use_as_well(recipe: Load) -> None:
    base = "family: olmo2-1b\nstart: posttrained\nobjective: sft\nuse: commercial\nbudget: 10k tokens\n"
    found = explain(recipe(f"{base}data: {{domain: own.jsonl}}\n"), CPU)
    assert any("`tulu-3`" in str(problem) and "0 %" in str(problem) for problem in found.problems)


def test_an_unknown_use_is_refused(recipe: Load) -> None:
    with pytest.raises(InputError, match="`use: sale` must be 'commercial', 'research' or 'internal'"):
        recipe(EMBER + "use: sale\n")
