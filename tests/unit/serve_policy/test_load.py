"""Policy files: what they extend, what is refused with file and line, and the floor that none of them lowers."""

from __future__ import annotations

from pathlib import Path

import pytest
from policies import Write

from bloomery.core.errors import InputError
from bloomery.serve.policy.load import floor, load_policy, templates
from bloomery.serve.policy.show import check_policy

OWN = "categories:\n  own:\n    detectors:\n      - words: [secret project]\n"


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_policy(path)
    return str(caught.value)


def test_every_policy_has_the_floor(write: Write) -> None:
    loaded = check_policy(write(OWN)).loaded
    assert set(loaded.floor) == {
        "child_safety",
        "private_keys",
        "payment_cards",
        "bank_accounts",
        "access_tokens",
        "national_ids",
    }
    assert {category.on_failure for category in loaded.floor.values()} == {"block"}
    assert {category.action for category in loaded.floor.values()} == {"block", "mask"}
    assert {category.applies for category in loaded.floor.values()} == {"both"}


@pytest.mark.parametrize(
    ("attempt", "line"),
    [
        ("  child_safety:\n    action: allow\n", 5),
        ("  child_safety: null\n", 5),
        ("  payment_cards:\n    allow:\n      - {text: our test cards, reason: tests}\n", 5),
        ("  national_ids:\n    detectors:\n      - words: [nothing]\n", 5),
        ("floor: null\n", 5),
        ("floor: {child_safety: {action: allow}}\n", 5),
        ("floor_off: true\n", 5),
    ],
)
def test_whatever_lowers_the_floor_is_refused_with_its_line(write: Write, attempt: str, line: int) -> None:
    path = write(OWN + attempt)
    said = refused(path)
    assert said.startswith(f"{path}:{line}: ")
    assert "belongs to the floor" in said


def test_the_floor_is_not_lowered_by_way_of_a_file_that_is_extended(write: Write, tmp_path: Path) -> None:
    (tmp_path / "low.yaml").write_text("categories:\n  access_tokens:\n    action: allow\n")
    said = refused(write("extends: low.yaml\n" + OWN))
    assert said.startswith(f"{(tmp_path / 'low.yaml').resolve()}:2: ")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("categoris: {}\n", 1, "there is no key `categoris` (did you mean `categories`?)"),
        (OWN + "    actoin: block\n", 5, "(did you mean `action`?)"),
        (OWN + "    action: stop\n", 5, "`categories.own.action: stop` must be"),
        (OWN + "      - regex: '('\n", 5, "is no regular expression"),
        (OWN + "      - regex: 'a*'\n", 5, "matches an empty text"),
        (OWN + "      - {regex: a, words: [b]}\n", 5, "this one has `regex` and `words`"),
        (OWN + "      - {}\n", 5, "this one has none"),
        (OWN + "      - {words: [a], check: luhn}\n", 5, "`check` means nothing for `words`"),
        (OWN + "      - {regex: '1', check: lun}\n", 5, "(did you mean `luhn`?)"),
        (OWN + "      - words: missing.txt\n", 5, "cannot be read"),
        (OWN + "      - words: ['...']\n", 5, "is no entry of a word list"),
        (OWN + "      - words: []\n", 5, "a word list has no words"),
        (OWN + "      - near: [askin, [b]]\n", 5, "there is no group `askin`"),
        (OWN + "      - near: [[a]]\n", 5, "at least 2 items"),
        (OWN + "      - head: missing\n", 5, "is no classifier head"),
        (OWN + "      - grader: {type: rgex, pattern: a}\n", 5, "`type: rgex` is no grader"),
        (OWN + "      - grader: {type: python, path: a.py}\n", 5, "runs the Python code"),
        (OWN + "      - {ask: 'Is this bad?', labels: ['yes', 'no'], flagged: ['yes']}\n", 5, "needs `{text}`"),
        (OWN + "      - {ask: 'Bad? {text}', labels: ['yes', 'no'], flagged: ['maybe']}\n", 5, "`flagged` must be"),
        (OWN + "    allow:\n      - text: a phrase\n", 6, "`categories.own.allow.0.reason` is missing"),
        ("bounds: {blocked_safe: 5}\n" + OWN, 1, "write `5%`"),
        ("extends: saftey\n" + OWN, 1, "(did you mean `safety`?)"),
        ("extends: policy.yaml\n" + OWN, None, "goes round in a circle"),
        ("extends: [safety, nowhere.yaml]\n", 1, "there is no policy `nowhere.yaml`"),
        ("extends: safety\ncategories: {weapon: null}\n", 2, "is not there (did you mean `weapons`?)"),
        ("categories:\n  own: null\n", 2, "takes away a category that is not there\n"),
        ("message: hello\n", 1, "has no categories of its own"),
        ("- a\n", 1, "is no mapping of keys"),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(write: Write, text: str, line: int | None, said: str) -> None:
    path = write(text)
    message = refused(path)
    assert said in message
    assert message.startswith(f"{path}:{line}: ") if line else message.startswith(str(path))


def test_what_judges_a_whole_text_cannot_mask(write: Write) -> None:
    text = "categories:\n  own:\n    action: mask\n    detectors:\n      - grader: {type: regex, pattern: a}\n"
    assert "does not say where in a text" in refused(write(text))


def test_a_policy_lays_its_keys_over_those_it_extends(write: Write) -> None:
    text = "extends: [safety, security]\ncategories:\n  weapons: null\n  malware:\n    action: review\n"
    loaded = load_policy(write(text + "  own: {detectors: [{words: [x files]}]}\n"))
    categories = loaded.policy.categories
    assert "weapons" not in categories and "own" in categories and "cybercrime" in categories
    assert categories["malware"].action == "review"
    assert categories["malware"].detectors == load_policy("security").policy.categories["malware"].detectors


def test_a_group_means_what_its_own_file_says(write: Write, tmp_path: Path) -> None:
    near = "      - near: [who, [does it]]\n"
    (tmp_path / "base.yaml").write_text(f"groups: {{who: [ada]}}\ncategories:\n  base:\n    detectors:\n{near}")
    text = "extends: base.yaml\ngroups: {who: [eve]}\n" + OWN + near
    categories = load_policy(write(text)).policy.categories
    assert [categories[name].detectors[-1].near for name in ("base", "own")] == [
        [["ada"], ["does it"]],
        [["eve"], ["does it"]],
    ]


def test_files_that_a_policy_names_are_found_beside_the_file_that_names_them(write: Write, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "base.yaml").write_text("categories:\n  own:\n    detectors:\n      - words: list.txt\n")
    (tmp_path / "below" / "list.txt").write_text("# names\n\nsecret project\n")
    assert check_policy(write("extends: below/base.yaml\n")).table()[-1][0] == "own"


def test_the_hash_is_that_of_the_whole_policy(write: Write, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one word\n")
    text = "extends: safety\ncategories:\n  own:\n    detectors:\n      - words: list.txt\n"
    first = load_policy(write(text)).hash
    assert load_policy(write(text + "# a remark\n")).hash == first
    (tmp_path / "list.txt").write_text("another word\n")
    second = load_policy(write(text)).hash
    assert load_policy(write(text + "    action: review\n")).hash not in (first, second)
    assert first != second


def test_a_secret_typed_into_a_policy_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "s3cr3t-v4lue-0815")
    said = refused(write(OWN + "      - judge: {key: s3cr3t-v4lue-0815}\n"))
    assert "JUDGE_API_KEY" in said and "s3cr3t" not in said


@pytest.mark.parametrize("name", templates())
def test_every_template_can_guard(name: str) -> None:
    checked = check_policy(name)
    assert len(checked.table()) > len(floor())
    assert set(checked.to_json()["floor"]) == set(floor())
