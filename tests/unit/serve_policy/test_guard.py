"""What a guard decides: precedence, roles, exceptions, failures, and what it logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from policies import Guarded, answered, user

OWN = "categories:\n  own:\n    action: {action}\n    message: not here\n    detectors:\n      - words: [zebra]\n"
CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("action", "released", "told"),
    [
        ("block", "a ", "not here"),
        ("mask", "a [removed] here", "[removed]"),
        ("review", "a zebra here", ""),
        ("warn", "a zebra here", "not here"),
        ("allow", "a zebra here", ""),
    ],
)
def test_each_action_does_what_it_says(guarded: Guarded, action: str, released: str, told: str) -> None:
    guard, events = guarded(OWN.format(action=action))
    assert answered(guard, "a zebra here") == (released, action)
    assert [(e["category"], e["action"], e["side"]) for e in events] == [("own", action, "output")]
    decision = guard.check_input(user("a zebra here"))
    assert decision.action == action
    assert decision.text == {"mask": "a [removed] here", "review": "a zebra here"}.get(action, told)


def test_a_stronger_action_wins_and_masks_are_made_all_the_same(guarded: Guarded) -> None:
    names = {"warn": "one", "mask": "two", "review": "three", "block": "four"}
    text = "categories:\n" + "".join(
        f"  {action}:\n    action: {action}\n    detectors: [{{words: [{word}]}}]\n" for action, word in names.items()
    )
    guard, _ = guarded(text)
    assert guard.check_input(user("one")).action == "warn"
    assert guard.check_input(user("one two")).action == "mask"
    decision = guard.check_input(user("one two three"))
    assert (decision.action, decision.text) == ("review", "one [removed] three")
    assert guard.check_input(user("one two three four")).action == "block"
    assert answered(guard, "one two three four five") == ("one [removed] three ", "block")


def test_the_floor_comes_before_a_category_of_equal_strength(guarded: Guarded) -> None:
    guard, _ = guarded(OWN.format(action="mask"))
    assert guard.check_input(user(f"zebra {CARD}")).category == "payment_cards"
    assert guard.check_input([*user("zebra"), *user(CARD)]).category == "payment_cards"
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj"
    guard, _ = guarded(OWN.format(action="block"))
    assert guard.check_input([*user("zebra"), *user(key)]).category == "private_keys"


def test_no_exception_of_a_category_reaches_the_floor(guarded: Guarded) -> None:
    guard, _ = guarded(OWN.format(action="block") + "    allow:\n      - {text: my card is, reason: ours}\n")
    assert guard.check_input(user(f"my card is {CARD}")).text == "my card is [removed]"


def test_the_floor_looks_at_every_role_and_a_category_at_what_comes_from_outside(guarded: Guarded) -> None:
    guard, _ = guarded(OWN.format(action="block"))
    for role, blocked in (("user", True), ("tool", True), ("assistant", True), ("system", False), ("developer", False)):
        messages = [{"role": role, "content": "zebra"}, *user("hello")]
        assert (guard.check_input(messages).action == "block") is blocked, role
        assert guard.check_input([{"role": role, "content": CARD}, *user("hello")]).action == "mask"


@pytest.mark.parametrize(("applies", "incoming", "outgoing"), [("input", 1, 0), ("output", 0, 1), ("both", 1, 1)])
def test_a_category_applies_to_what_it_says(guarded: Guarded, applies: str, incoming: int, outgoing: int) -> None:
    guard, _ = guarded(OWN.format(action="block") + f"    applies: {applies}\n")
    assert (guard.check_input(user("zebra")).action == "block") == incoming
    assert (answered(guard, "zebra")[1] == "block") == outgoing
    earlier = [{"role": "assistant", "content": "zebra"}, *user("hello")]
    assert (guard.check_input(earlier).action == "block") == outgoing


def test_masked_messages_are_what_the_model_may_read(guarded: Guarded) -> None:
    guard, events = guarded(OWN.format(action="mask"))
    parts = [{"type": "text", "text": "card 4111 1111 "}, {"type": "text", "text": "1111 1111"}]
    messages = [{"role": "user", "content": parts}, {"role": "user", "content": "no zebra", "name": "ada"}]
    assert guard.masked(messages) == [
        {"role": "user", "content": "card [removed]"},
        {"role": "user", "content": "no [removed]", "name": "ada"},
    ]
    assert events == []
    assert guard.masked(user("plain")) == user("plain")


def test_an_exception_takes_its_phrase_out_and_nothing_else(guarded: Guarded) -> None:
    guard, events = guarded(OWN.format(action="block") + "    allow:\n      - {text: zebra crossing, reason: a road}\n")
    assert answered(guard, "a zebra crossing", size=1) == ("a zebra crossing", "allow")
    assert events[0]["action"] == "allow" and events[0]["reason"] == "allowed: a road"
    assert answered(guard, "a zebra crossing, a zebra") == ("a zebra crossing, a ", "block")
    assert guard.check_input(user("a ZEBRA-crossing")).action == "allow"


def test_an_exception_counts_for_words_that_are_near(guarded: Guarded) -> None:
    near = "categories:\n  own:\n    detectors:\n      - near: [[make], [bomb]]\n"
    guard, _ = guarded(near + "    allow:\n      - {text: bath bomb, reason: soap}\n")
    assert guard.check_input(user("make a bath bomb")).action == "allow"
    assert guard.check_input(user("make a bath bomb and a real bomb")).action == "block"


PYTHON = """categories:
  own:
    on_failure: {on_failure}
    detectors:
      - grader: {{type: python, path: {path}, trusted: true, seconds: 5}}
        threshold: 0.7
"""


@pytest.fixture
def grader(tmp_path: Path) -> str:
    path = tmp_path / "own_grader.py"
    path.write_text(
        "def grade(sample):\n"
        "    text = sample['messages'][-1]['content']\n"
        "    if 'fail' in text: raise ValueError('no answer')\n"
        "    if 'prose' in text: return 'rather bad'\n"
        "    return 0.9 if 'bad' in text else 0.5\n"
    )
    return str(path)


def test_a_grader_blocks_from_its_threshold_on(guarded: Guarded, grader: str) -> None:
    guard, events = guarded(PYTHON.format(on_failure="review", path=grader))
    assert guard.check_input(user("good")).action == "allow"
    assert guard.check_input(user("bad")).action == "block"
    assert answered(guard, "quite bad") == ("", "block")
    assert events[-1]["reason"] == "score 0.9 (threshold 0.7)"


@pytest.mark.parametrize("on_failure", ["block", "review", "allow"])
@pytest.mark.parametrize("text", ["fail", "prose"])
def test_a_grader_that_fails_does_what_its_category_says_and_is_logged(
    guarded: Guarded, grader: str, on_failure: str, text: str
) -> None:
    guard, events = guarded(PYTHON.format(on_failure=on_failure, path=grader))
    assert guard.check_input(user(text)).action == on_failure
    assert [e["action"] for e in events] == [on_failure]
    assert events[0]["reason"] == "failed: python gave no score"


def test_what_a_grader_or_a_model_says_in_its_own_words_is_logged_only_as_the_text_is(
    guarded: Guarded, tmp_path: Path
) -> None:
    path = tmp_path / "quotes.py"
    path.write_text("def grade(sample):\n    raise ValueError(sample['messages'][-1]['content'])\n")
    fails = PYTHON.format(on_failure="block", path=path)
    quotes = "categories:\n  own:\n    detectors:\n      - grader: {type: json_schema, schema: {type: integer}}\n"
    quotes += "        threshold: 0.5\n        flags: low\n"
    for policy, reason in ((quotes, "score 0 (threshold 0.5)"), (fails, "failed: python gave no score")):
        guard, events = guarded(policy)
        decision = guard.check_input(user('"zebra"'))
        assert decision.action == "block" and decision.reason.startswith(f"{reason}: ") and "zebra" in decision.reason
        assert events[0]["reason"] == reason and "zebra" not in json.dumps(events)
        guard, events = guarded("log_text: true\n" + policy)
        guard.check_input(user('"zebra"'))
        assert events[0]["reason"] == reason and "zebra" in events[0]["words"]


def test_a_pattern_that_takes_too_long_does_what_its_category_says(guarded: Guarded) -> None:
    slow = "      - regex: '(?:a|aa|aaa)+(?:a|aa)+(?:a|aa)+b$'\n        longest: 4000\n"
    guard, events = guarded(OWN.format(action="warn") + slow + "    on_failure: block\n")
    assert guard.check_input(user("a" * 3000 + "c")).action == "block"
    assert events[0]["reason"] == "failed: regex 2 took too long"


ASK = """categories:
  own:
    detectors:
      - ask: "Is this bad? {text}"
        labels: ["yes", "no"]
        flagged: ["yes"]
        every: 20
"""


def test_the_served_model_is_asked_with_its_labels(guarded: Guarded) -> None:
    asked: list[str] = []

    def ask(question: str, labels: Sequence[str]) -> str:
        asked.append(question)
        assert list(labels) == ["yes", "no"]
        return "maybe" if "odd" in question else "yes" if "bad" in question.removeprefix("Is this bad?") else "no"

    guard, events = guarded(ASK, ask=ask)
    assert guard.check_input([*user("bad, long ago"), *user("good")]).action == "allow"
    assert answered(guard, "all is well so far, then it turns bad") == ("all is well so far, ", "block")
    assert guard.check_input(user("odd")).action == "review"
    assert events[-1]["reason"] == "failed: the served model answered with no label"
    assert asked[0] == "Is this bad? good"


def test_without_a_served_model_a_question_to_it_is_refused(guarded: Guarded) -> None:
    with pytest.raises(ValueError, match="there is none here"):
        guarded(ASK)


def test_the_log_holds_no_text_and_no_hash_that_can_be_guessed(guarded: Guarded) -> None:
    logs = []
    for _ in range(2):
        guard, events = guarded(OWN.format(action="block"))
        guard.check_input(user(f"card {CARD}"), request="r1")
        guard.check_input(user(f"again {CARD}"))
        assert CARD not in json.dumps(events)
        logs.append(events)
    first, again = logs[0]
    assert first["request"] == "r1" and again["request"] not in ("", "r1")
    assert first["span_hash"] == again["span_hash"] != logs[1][0]["span_hash"]
    assert first["policy"] == guard.loaded.hash and first["floor"] is True
    assert (first["start"], first["end"]) == (5, 24)


def test_the_log_holds_the_text_where_the_policy_says_so(guarded: Guarded) -> None:
    guard, events = guarded("log_text: true\n" + OWN.format(action="warn"))
    guard.check_input(user("a zebra"))
    assert events[0]["text"] == "zebra"


@pytest.mark.parametrize("content", ["", None, [], [{"type": "image_url"}], "\udc80 zebra", "\x00"])
def test_odd_content_is_checked_without_a_crash(guarded: Guarded, content: object) -> None:
    guard, _ = guarded(OWN.format(action="block"))
    decision = guard.check_input([{"role": "user", "content": content}])
    assert decision.action == ("block" if content == "\udc80 zebra" else "allow")
    assert guard.check_input([]).action == "allow"
