"""Advice: what rows are, how far they are, a recipe that `explain` accepts, and refusals that say what to do."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.intervals import Interval
from bloomery.core.yaml import load_yaml
from bloomery.families.registry import load_family
from bloomery.families.rules import rule_for
from bloomery.recipes.explain import explain
from bloomery.recipes.load import load_recipe
from bloomery.recipes.start import from_family
from bloomery.studies import advise_distance
from bloomery.studies.advise import advise, too_little
from bloomery.studies.advise_distance import StageDistance, distances, far_or_near
from bloomery.studies.advise_look import Look, Looked, look_at
from bloomery.studies.advise_measure import PART, Forecast, Fork, choose, forecast, planned
from bloomery.studies.micro import Point

TOKENIZER = from_family(load_family("ember"), "pretrained").tokenizer

CHAT = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "because"}]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}

KINDS: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": "the order ships when payment clears"}],
    "sft": [{"prompt": "how many", "response": "three"}, {"prompt": "who", "response": "she"}],
    "reasoning": [{"question": "how many", "answer": "Half is <<4/2=2>>2.\n#### 2"}],
    "tools": [{"messages": [CHAT[0], CALL, {"role": "tool", "content": "3"}, CHAT[1]]}],
    "preference": [{"prompt": "say", "chosen": "please", "rejected": "no"}],
    "judged": [{"prompt": "say", "completion": "please", "label": True}],
    "reward": [{"prompt": "how many", "reference_answer": "3"}, {"prompt": "who", "reference_answer": "she"}],
}


def rows(path: Path, found: list[dict[str, Any]], times: int = 1) -> str:
    lines = [json.dumps({**row, "id": f"{n}-{k}"}) for n in range(times) for k, row in enumerate(found)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Scoring without a model: what was scored, each time."""
    asked: list[list[str]] = []

    def bits(engine: Any, tokenizer: Any, texts: list[str]) -> float:
        asked.append(texts)
        return 3.0 if len(texts[0]) < 50 else 1.5

    monkeypatch.setattr(advise_distance, "_engine", lambda start: (None, None))
    monkeypatch.setattr(advise_distance, "_bits", bits)
    return asked


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_a_file_is_told_by_its_rows(kind: str, tmp_path: Path) -> None:
    assert look_at([rows(tmp_path / "x.jsonl", KINDS[kind], 5)], None, None).kind == kind


@pytest.mark.parametrize(
    ("kinds", "together"),
    [
        (("text", "sft"), "mixed"),
        (("sft", "reasoning"), "reasoning"),
        (("sft", "tools"), "tools"),
        (("text", "preference"), "preference"),
        (("sft", "reward"), "sft"),
        (("reward",), "reward"),
    ],
)
def test_files_of_several_kinds_have_one_together(kinds: tuple[str, ...], together: str, tmp_path: Path) -> None:
    files = [rows(tmp_path / f"{kind}.jsonl", KINDS[kind], 5) for kind in kinds]
    assert look_at(files, None, None).kind == together


def test_a_question_that_ends_a_conversation_is_one_without_an_answer(tmp_path: Path) -> None:
    assert look_at([rows(tmp_path / "x.jsonl", [{"messages": CHAT[:1]}], 5)], None, None).kind == "reward"


def test_small_files_are_counted_and_repeats_are_found(tmp_path: Path) -> None:
    told = [{"text": f"the order number {n} ships"} for n in range(30)]
    found = look_at([rows(tmp_path / "x.jsonl", [*told, *told[:10]])], TOKENIZER, None)
    assert (found.rows, found.exact, found.twice) == (40, True, pytest.approx(0.25))
    assert look_at([str(tmp_path / "x.jsonl")], None, None).exact is False


def test_a_folder_of_tables_is_a_source_a_file_and_one_of_texts_is_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{name}.md").write_text("the order ships")
        (tmp_path / "tables").mkdir(exist_ok=True)
        rows(tmp_path / "tables" / f"{name}.jsonl", KINDS["text" if name == "a" else "sft"])
    assert len(look_at([str(tmp_path / "texts")], None, None).sources) == 1
    tables = look_at([str(tmp_path / "tables")], None, None)
    assert (len(tables.sources), tables.kind) == (2, "mixed")


def test_distance_is_measured_once_for_the_same_weights_and_rows(quick: list[list[str]], tmp_path: Path) -> None:
    ember = load_family("ember")
    found = look_at([rows(tmp_path / "x.jsonl", KINDS["text"], 30)], TOKENIZER, None)
    first = distances(ember, found, download=False)
    assert [one.ratio for one in first] == [2.0] * 4 and far_or_near(first) == "far"
    assert len(quick) == 8
    assert distances(ember, found, download=False) == first and len(quick) == 8
    other = look_at([rows(tmp_path / "y.jsonl", [{"text": "another order"}], 30)], TOKENIZER, None)
    distances(ember, other, download=False)
    assert len(quick) == 12  # general text is scored once for all data


def test_near_and_far_go_by_the_first_checkpoint_that_was_measured() -> None:
    start = from_family(load_family("ember"), "pretrained")
    unmeasured, near = StageDistance("a", start), StageDistance("b", start, 1.6, 1.5)
    assert far_or_near([unmeasured, near, StageDistance("c", start, 3.0, 1.5)]) == "near"
    assert far_or_near([unmeasured]) == "unknown"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "reward"])
def test_the_recipe_is_one_that_explain_accepts(kind: str, quick: list[list[str]], tmp_path: Path) -> None:
    file = rows(tmp_path / "data's.jsonl", KINDS[kind], 2000)
    advice = advise([file], keep=0.005, folder=tmp_path / "sub")
    assert advice.recipe is not None and advice.plan is not None, str(advice)
    path = advice.write(tmp_path / "sub" / "recipe.yaml")
    found = explain(load_recipe(path))
    assert found.can_run, found.problems
    assert found.plan is not None and found.plan.get("start.ref").endswith(advice.choice.start[0])  # type: ignore[union-attr]
    told = json.loads(json.dumps(advice.to_json()))
    assert told["kind"] == kind and told["start"]["why"] and load_yaml(told["recipe"])[0]["family"] == "ember"
    assert "<table>" in advice._repr_html_() and "gain" in str(advice)
    with pytest.raises(InputError, match="exists already"):
        advice.write(path)


def test_rows_without_answers_are_not_trained_on_and_advice_says_what_to_do(
    quick: list[list[str]], tmp_path: Path
) -> None:
    advice = advise([rows(tmp_path / "x.jsonl", KINDS["reward"], 30)])
    assert advice.recipe is None and "not available yet" in str(advice) and "instead" in str(advice)
    with pytest.raises(InputError, match="no recipe"):
        advice.write(tmp_path / "recipe.yaml")


def test_an_answer_in_a_column_of_another_name_is_asked_for_and_may_be_named(
    quick: list[list[str]], tmp_path: Path
) -> None:
    found = [{"prompt": f"how many are in {n}", "sql": f"select count(*) from t{n}"} for n in range(2000)]
    file = rows(tmp_path / "x.jsonl", found)
    assert "--columns response=sql" in str(advise([file]))
    named = advise([file], columns={"response": "sql"}, folder=tmp_path)
    assert named.look.kind == "sft" and named.recipe is not None and "columns: {response: 'sql'}" in named.recipe
    assert explain(load_recipe(named.write(tmp_path / "recipe.yaml"))).can_run


def test_a_few_bad_rows_and_a_single_document_are_left_out_and_said(quick: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    rows(tmp_path / "mixed" / "x.jsonl", [*KINDS["sft"] * 1000, {"prompt": "who", "response": ""}])
    (tmp_path / "mixed" / "page.md").write_text("One page of text, and no other.\n" * 20)
    advice = advise(["mixed"], folder=tmp_path)
    assert advice.recipe is not None and "bad_rows: skip" in advice.recipe and "page.md" not in advice.recipe
    assert "left out" in str(advice) and "one document each" in str(advice)


def test_no_more_passes_are_advised_than_the_curated_data_beside_them_bears(
    quick: list[list[str]], tmp_path: Path
) -> None:
    long = [{"prompt": f"how many are in store {n}", "response": f"there are {n} of them " * 60} for n in range(12_000)]
    advice = advise([rows(tmp_path / "x.jsonl", long)], keep=0.005, folder=tmp_path)
    assert advice.choice is not None and advice.choice.epochs[0] < 2 and "read too often" in advice.choice.epochs[1]
    assert advice.plan is not None and advice.plan.can_run


@pytest.mark.parametrize(
    ("kind", "count", "tokens", "says"),
    [
        ("text", 3, 100, "retrieval"),
        ("sft", 3, 100, "few-shot"),
        ("text", 3, 300_000, "split it into documents"),
        ("text", 300, 30_000, ""),
    ],
)
def test_data_too_small_to_train_on_is_told_what_else_it_is_good_for(
    kind: Any, count: int, tokens: int, says: str
) -> None:
    told = too_little(Look((Looked({}, kind, "", count, tokens, True, 0.0),), kind))
    assert says in told and bool(told) == bool(says)


def test_weights_that_are_not_here_are_not_fetched_and_advice_goes_by_rule(tmp_path: Path) -> None:
    file = rows(tmp_path / "x.jsonl", KINDS["text"], 3000)
    advice = advise([file], "smollm2-135m", keep=None)
    assert "--download fetches and measures them" in str(advice)
    assert advice.distance == "unknown" and advice.recipe is not None
    assert advice.rule == rule_for("text", advice.look.tokens)
    with pytest.raises(InputError, match="weights are not on this machine"):
        advise([file], "smollm2-135m", keep=None, measure=True)


def test_data_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="does not exist"):
        advise(["nothing.jsonl"])
    with pytest.raises(InputError, match="has no rows"):
        advise(["empty.jsonl"])
    with pytest.raises(InputError, match=r"is no generated source .did you mean `workflow-manual`"):
        advise(["builtin:workflw-manual"])
    with pytest.raises(InputError, match="lies on another machine"):
        advise(["s3://bucket/rows.jsonl"])
    with pytest.raises(InputError, match=r"there is no family `embr` \(did you mean `ember`"):
        advise(["empty.jsonl"], "embr")


def fork(stage: str = "hot", share: float = 0.5) -> Fork:
    return Fork(stage, share, 1000, 256, 1e-3, 4000)


def foretold(begin: float, end: float, target: float = 25_000, stage: str = "hot") -> Forecast:
    points = [Point(stage, 0.5, 0, begin, 1.6, ended=False), Point(stage, 0.5, 1000, end, 1.6)]
    return forecast(fork(stage), points, target, 0.7)


def test_a_forecast_goes_on_from_the_fork_and_never_below_the_floor() -> None:
    same = foretold(3.0, 2.8, target=500)
    assert same.domain.estimate == pytest.approx(2.8)
    near, far = foretold(3.0, 2.8, target=5_000), foretold(3.0, 2.8, target=5e8)
    assert 0.7 <= far.domain.estimate < near.domain.estimate < 2.8
    assert near.domain.low < near.domain.estimate < near.domain.high
    assert near.rise is not None and near.rise.low < 0 < near.rise.high


def test_what_ember_was_seen_to_do_is_foretold_in_its_order() -> None:
    """Forks of 1,000 tokens and runs of 50,000 into half workflow manual, from ember's four stages."""
    seen = {
        "pretrained": (3.053, 2.812, 1.409),
        "midtrained-warm": (2.785, 2.725, 1.974),
        "midtrained": (2.755, 2.667, 1.808),
        "posttrained": (2.980, 2.798, 1.643),
    }
    found = {stage: foretold(begin, end, 25_000, stage) for stage, (begin, end, _) in seen.items()}
    order = sorted(seen, key=lambda stage: found[stage].domain.estimate)
    assert order == sorted(seen, key=lambda stage: seen[stage][2])
    assert all(found[stage].domain.low < last < found[stage].domain.high for stage, (_, _, last) in seen.items())


def told(stage: str, share: float, loss: float, rise: float, wide: float = 0.01) -> Forecast:
    bounds = tuple((loss - wide, loss, loss + wide) for _ in range(3))
    return Forecast(stage, share, 3.0, Interval(loss, loss - wide, loss + wide), Interval(rise, rise, rise), bounds)


def test_the_lowest_domain_loss_within_the_budget_is_chosen() -> None:
    forecasts = [told("pre", 0.5, 1.4, 0.05), told("mid", 0.5, 1.8, 0.004), told("post", 0.5, 1.6, 0.002)]
    assert choose(forecasts, "mid", 0.5, None)[0].stage == "pre"
    assert choose(forecasts, "mid", 0.5, 0.005)[0].stage == "post"
    none, why = choose(forecasts, "mid", 0.5, 0.001)
    assert none.stage == "post" and "no fork is likely to stay within" in why


def test_stages_that_cannot_be_told_apart_are_left_to_the_rule() -> None:
    forecasts = [told("pre", 0.5, 1.50, 0.03, 0.1), told("mid", 0.5, 1.52, 0.01, 0.1), told("post", 0.5, 2.5, 0.0)]
    chosen, why = choose(forecasts, "mid", 0.5, None)
    assert chosen.stage == "mid" and "pre and mid cannot be told apart, so the rule's own" in why
    assert choose(forecasts, "post", 0.5, None)[0].stage == "mid"  # the one that rises less


def test_forks_are_planned_within_their_part_of_the_compute(tmp_path: Path) -> None:
    from bloomery.recipes.load import recipe_from
    from bloomery.recipes.resolve import resolve

    keys = {"family": "ember", "data": {"domain": [{"builtin": "workflow-manual"}]}, "budget": "450k tokens"}
    wholes = {stage: resolve(recipe_from({**keys, "start": stage})) for stage in ("pretrained", "midtrained")}
    for allowed, shares in ((PART * 450_000, 3), (PART * 60_000, 1)):
        forks = planned(wholes, 0.5, allowed, several=True)
        assert len(forks) == 2 * shares and {one.stage for one in forks} == set(wholes)
        assert sum(one.tokens + 4 / 3 * one.scored for one in forks) <= allowed
        usual = wholes["pretrained"].get("schedule.lr")
        assert all(one.lr < usual and one.batch < 1024 for one in forks)


def test_compressed_rows_are_looked_at_too(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "x.jsonl.xz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in KINDS["sft"] * 20))
    assert look_at([str(tmp_path / "x.jsonl.xz")], TOKENIZER, None).rows == 40
