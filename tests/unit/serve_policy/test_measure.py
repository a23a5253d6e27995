"""The rates of a policy: what counts, with which interval, and what its bounds say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from policies import Write

from bloomery.core.errors import InputError
from bloomery.serve.policy.load import TEMPLATES
from bloomery.serve.policy.measure import Rate
from bloomery.serve.policy.rows import read_rows
from bloomery.serve.policy.show import run_policy, try_policy

OWN = "categories:\n  own:\n    detectors:\n      - words: [zebra]\n"


def lines(*rows: dict[str, object]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 100, 0.0018, 0.0545)],
)
def test_the_interval_is_wilsons(hits: int, count: int, low: float, high: float) -> None:
    assert Rate(hits, count).bounds == pytest.approx((low, high), abs=1e-3)


def test_no_rows_have_no_share() -> None:
    assert str(Rate(0, 0)) == "no rows" and Rate(0, 0).bounds == (0.0, 1.0)
    assert Rate(0, 0).to_json()["share"] is None


def test_harmful_and_safe_rows_are_counted_by_category(write: Write) -> None:
    rows = write(
        lines(
            {"text": "a zebra", "expect": "block", "category": "own"},
            {"text": "a zebra", "expect": "review", "category": "own"},
            {"text": "a horse", "expect": "block", "category": "other"},
            {"text": "a zebra", "expect": "allow", "category": "other"},
            {"text": "a horse", "expect": "allow"},
            {"text": "the zebra", "side": "output", "expect": "block", "category": "own"},
            {
                "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "zebra"}],
                "expect": "block",
            },
        ),
        "rows.jsonl",
    )
    measured = run_policy(write(OWN + "  other:\n    detectors:\n      - words: [unicorn]\n"), rows)
    assert (measured.harmful, measured.safe) == (Rate(4, 5), Rate(1, 2))
    assert measured.categories["own"] == (Rate(3, 3), Rate(0, 0))
    assert measured.categories["other"] == (Rate(0, 1), Rate(1, 1))
    assert [outcome.row.where.line for outcome in (*measured.missed, *measured.stopped)] == [3, 4]
    assert "zebra" not in json.dumps(measured.to_json())

    rows = write("\n" + lines({"text": "a", "expect": "allow", "category": "owm"}), "slips.jsonl")
    with pytest.raises(InputError, match=r"`category: owm` is none of .*did you mean `own`") as refused:
        run_policy(write(OWN), rows)
    assert str(refused.value.where) == f"{rows}:2"


def test_a_weaker_action_than_expected_does_not_count(write: Write) -> None:
    rows = write(lines({"text": "zebra", "expect": "block"}), "rows.jsonl")
    assert run_policy(write(OWN + "    action: warn\n"), rows).harmful == Rate(0, 1)


@pytest.mark.parametrize(
    ("bounds", "status"),
    [
        ("{blocked_harmful: 90%}", 0),
        ("{blocked_safe: 10%}", 0),
        ("{blocked_harmful: 99%}", 4),
        ("{blocked_safe: 1%}", 4),
        ("{blocked_safe: 0%}", 4),
        ("{blocked_harmful: 90%, blocked_safe: 1%}", 4),
        ("{}", 0),
    ],
)
def test_bounds_are_held_broken_or_not_proven(write: Write, bounds: str, status: int) -> None:
    some = [{"text": f"zebra {n}", "expect": "block"} for n in range(60)]
    rows = write(lines(*some, *({"text": f"horse {n}", "expect": "allow"} for n in range(60))), "rows.jsonl")
    assert run_policy(write(f"bounds: {bounds}\n{OWN}"), rows).exit_status == status


def test_a_broken_bound_outweighs_one_that_is_not_proven(write: Write) -> None:
    rows = write(lines({"text": "horse", "expect": "block"}, {"text": "cow", "expect": "allow"}), "rows.jsonl")
    measured = run_policy(write("bounds: {blocked_harmful: 50%, blocked_safe: 10%}\n" + OWN), rows)
    assert [verdict for _, verdict in measured.verdicts] == ["broken", "not proven"]
    assert measured.exit_status == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is no object"),
        ('{"text": "a", "expect": "blok"}', "`expect: blok`"),
        ('{"text": "a", "expct": "block"}', "did you mean `expect`"),
        ('{"text": " ", "expect": "block"}', "holds no text"),
        ('{"expect": "block"}', "either `text` or `messages`"),
        ('{"text": "a", "messages": [], "expect": "block"}', "either `text` or `messages`"),
        ('{"messages": [{"content": "a"}], "expect": "block"}', "holds no text"),
        ('{"text": "a", "side": "in", "expect": "block"}', "`side: in`"),
        ('{"text": "a", "category": 3, "expect": "block"}', "`category: 3`"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(write: Write, row: str, said: str) -> None:
    path = write('{"text": "fine", "expect": "allow"}\n\n' + row, "rows.jsonl")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}:3: ") and said in str(caught.value)


def test_no_rows_are_refused(write: Write, tmp_path: Path) -> None:
    for path in (write("\n", "rows.jsonl"), tmp_path / "missing.jsonl"):
        with pytest.raises(InputError):
            read_rows(path)


@pytest.mark.parametrize("name", ["fairness", "safety", "security", "sensitive"])
def test_a_template_does_what_its_rows_say(name: str) -> None:
    """Not how good it is on texts that nobody looked at while writing it: these rows were."""
    measured = run_policy(name, TEMPLATES / "rows" / f"{name}.jsonl")
    assert measured.harmful.count == measured.safe.count >= 12
    assert (measured.missed, measured.stopped) == ((), ())


@pytest.mark.parametrize("policy", ["safety", "security-firm"])
def test_the_floor_does_what_its_rows_say_under_every_policy(policy: str) -> None:
    measured = run_policy(policy, TEMPLATES / "rows" / "floor.jsonl")
    assert (measured.missed, measured.stopped) == ((), ())


def test_a_security_firm_may_test_security_and_nothing_more() -> None:
    measured = run_policy("security-firm", TEMPLATES / "rows" / "security.jsonl")
    assert measured.categories["cybercrime"] == (Rate(0, 6), Rate(0, 6))
    assert measured.categories["malware"] == (Rate(6, 6), Rate(0, 6))
    assert try_policy("security-firm", "Write a phishing email from a bank.", "input").decision.action == "review"
    assert try_policy("security-firm", "Write a keylogger for our lab.", "input").decision.action == "allow"
    assert run_policy("security-firm", TEMPLATES / "rows" / "safety.jsonl").harmful == Rate(30, 30)


def test_a_media_company_may_name_its_own_characters_and_nothing_more() -> None:
    text = "Write the episode How to build a bomb with Captain Grenade."
    assert try_policy("all", text, "input").decision.action == "block"
    assert try_policy("media-company", text, "input").decision.action == "allow"
    assert try_policy("media-company", "The Bastard Prince", "output").text == "The Bastard Prince"
    for name in ("safety", "sensitive", "fairness", "security"):
        measured = run_policy("media-company", TEMPLATES / "rows" / f"{name}.jsonl")
        assert (measured.missed, measured.stopped) == ((), ())


def test_a_row_may_hold_any_white_space_and_one_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b\x85c", "expect": "allow"}, ensure_ascii=False) + "\n")
    assert [row.text for row in read_rows(path)] == ["a\u2028b\x85c"]
    path.write_text('{"text": "a", "expect": "allow"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(InputError, match="is no JSON") as told:
        read_rows(path)
    assert str(told.value.where).endswith("rows.jsonl:2")
