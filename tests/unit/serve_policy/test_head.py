"""A trained head: what it learns, that it is calibrated where it was not trained, and that damage is noticed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from policies import Guarded, answered, user

from bloomery.core.errors import DamagedError, InputError
from bloomery.serve.policy.head import SLOTS, Head, features, load_head
from bloomery.serve.policy.head_train import train_category, train_head

INSULTS = "fool oaf dolt clod lout churl knave varlet".split()
PLAIN = "table river cloud window garden letter bridge candle the of to and with near under old new small".split()


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[bool]]:
    """Texts of plain words; the harmful ones hold an insult."""
    rng = random.Random(seed)
    texts, harmful = [], []
    for number in range(count):
        words = rng.choices(PLAIN, k=12)
        if number % 3 == 0:
            words[rng.randrange(12)] = f"you {rng.choice(INSULTS)}"
        texts.append(" ".join(words))
        harmful.append(number % 3 == 0)
    return texts, harmful


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [
        json.dumps({"text": text, "expect": "block" if bad else "allow", "category": "insults"})
        for text, bad in zip(*sentences(900), strict=True)
    ]
    lines.append(json.dumps({"text": "of another kind", "expect": "block", "category": "weapons"}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def folder(rows: Path) -> Path:
    folder = rows.parent / "heads" / "insults"
    trained = train_category("insults", rows, folder, 0.05)
    assert trained.left_out == 1
    return folder


def test_a_head_tells_what_it_was_trained_to_tell(folder: Path) -> None:
    head = load_head(folder)
    texts, harmful = sentences(300, seed=1)
    probabilities = np.array([head.probability(text) for text in texts])
    flagged, bad = probabilities >= head.threshold, np.array(harmful)
    assert flagged[bad].mean() > 0.9
    assert flagged[~bad].mean() < 0.2
    assert abs(probabilities.mean() - bad.mean()) < 0.08
    held = head.about["held_out"]
    assert held["blocked_harmful"]["count"] + held["blocked_safe"]["count"] < 150
    assert head.about["category"] == "insults" and len(head.about["rows_sha256"]) == 64


def test_training_again_gives_the_same_head(rows: Path, folder: Path, tmp_path: Path) -> None:
    train_category("insults", rows, tmp_path / "again", 0.05)
    for name in ("head.safetensors", "head.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_head_guards_a_stream_window_by_window(guarded: Guarded, folder: Path) -> None:
    text = f"categories:\n  own:\n    detectors:\n      - {{head: {folder}, every: 100, threshold: 0.7}}\n"
    guard, events = guarded(text)
    plain, insult = "the river and the old bridge near the garden. " * 20, "you fool, you oaf, you dolt, you knave"
    assert answered(guard, plain) == (plain, "allow")
    released, action = answered(guard, plain[:420] + insult + plain)
    assert action == "block" and released == plain[:400]
    assert guard.check_input(user(plain + insult)).action == "block"
    assert events[-1]["detector"] == "head 1" and "threshold 0.70" in events[-1]["reason"]


def test_a_changed_byte_is_noticed(folder: Path, tmp_path: Path) -> None:
    for name in ("head.safetensors", "head.json", "manifest.json"):
        copy = tmp_path / name
        copy.mkdir()
        for path in folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises(DamagedError):
            load_head(copy)


def test_rows_that_teach_nothing_are_refused(tmp_path: Path, rows: Path, folder: Path) -> None:
    texts, harmful = sentences(60)
    with pytest.raises(InputError, match="there are 20 harmful rows, and a head needs 40"):
        train_head(texts, harmful, 0.05)
    with pytest.raises(InputError, match="as harmful and as safe"):
        train_head(["same", "same"], [True, False], 0.05)
    with pytest.raises(InputError, match="exists already"):
        train_category("insults", rows, folder, 0.05)


def test_blank_text_is_of_no_category() -> None:
    head = Head(np.full(SLOTS, 9, np.float32), 5.0, 1.0, 0.5, {})
    assert head.probability(" \n") == 0.0
    assert head.probability("x") > 0.5


@pytest.mark.parametrize("text", ["", "a", "\udc80", "ﬁ", "x" * 5000, "日本語"])
def test_every_text_has_features(text: str) -> None:
    slots = features(text)
    assert len(slots) and slots.min() >= 0 and slots.max() < SLOTS
    assert len(set(slots.tolist())) == len(slots)


def test_disguised_letters_have_the_same_features() -> None:
    assert np.array_equal(features("BОMB\u200b  now"), features("bomb now"))
