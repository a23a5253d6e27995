"""What word lists and patterns find, in which disguises, and what they leave alone."""

from __future__ import annotations

import pytest
from policies import Guarded

from bloomery.core.errors import InputError
from bloomery.serve.policy.fold import Text
from bloomery.serve.policy.pattern import BLOCK, Front, Pattern, Scan
from bloomery.serve.policy.words import near_pattern, word_pattern


def found(pattern: Pattern, text: str) -> list[str]:
    return [text[span.start : span.end] for span in pattern.spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "a bomb",
        "A BOMB!",
        "a b0mb",
        "a bómb",
        "a bo\u0301mb",
        "a bomb",
        "a b\u200bo\u2060mb",
        "a bоmb",
        "a 𝐛𝐨𝐦𝐛",
        "(bomb)",
        "bomb_1 bomb",
    ],
)
def test_a_word_is_found_in_disguise(text: str) -> None:
    assert len(found(word_pattern(["bomb"]), text)) == 1


@pytest.mark.parametrize("text", ["bombastic", "abomb", "bom", "b o m b", "8088", "bomb2"])
def test_another_word_is_not(text: str) -> None:
    assert found(word_pattern(["bomb"]), text) == []


def test_a_number_is_no_word_unless_an_entry_begins_with_one() -> None:
    assert found(word_pattern(["ass"]), "room 455, a55, 4ss") == ["a55", "4ss"]
    assert found(word_pattern(["12 year old"]), "a 12-year-old, a 212 year old") == ["12-year-old"]


def test_stems_take_endings_and_spaces_take_hyphens() -> None:
    words = word_pattern(["explo*", "pipe bomb"])
    assert found(words, "exploding explosives in a pipe-bomb or pipe  bomb") == [
        "exploding",
        "explosives",
        "pipe-bomb",
        "pipe  bomb",
    ]


def test_the_longest_entry_wins() -> None:
    assert found(word_pattern(["kill", "kill bill"]), "kill bill") == ["kill bill"]


def test_a_span_is_of_the_text_as_it_was_written() -> None:
    assert found(word_pattern(["office"]), "an ofﬁce") == ["ofﬁce"]
    assert found(word_pattern(["cafe"]), "a c\u200bafé!") == ["c\u200bafé"]


def test_near_words_are_in_one_sentence_and_in_order() -> None:
    near = near_pattern([["how to"], ["make"], ["bomb", "bombs"]], 20, False, ["bath"])
    assert found(near, "So: how to quickly make two bombs?") == ["how to quickly make two bombs"]
    for text in ("make bombs how to", "how to live. make bombs", "how to make " + "x" * 40 + " bombs"):
        assert found(near, text) == []
    for text in ("how to make bath or shower bombs", "in a bath how to make bombs", "how to make bombs for the bath"):
        assert found(near, text) == []


def test_near_words_in_any_order() -> None:
    near = near_pattern([["alpha"], ["beta"], ["gamma"]], 5, True, [])
    for text in ("alpha beta gamma", "gamma beta alpha", "beta alpha gamma"):
        assert found(near, text) == [text]


def test_a_pattern_that_cannot_be_used_is_refused() -> None:
    for source in ("(", "a*", "(?=a)|"):
        with pytest.raises(InputError):
            Pattern(source)


def test_a_search_that_takes_too_long_is_given_up() -> None:
    hostile = Pattern(r"(?:a|aa|aaa)+(?:a|aa)+(?:a|aa)+b$", longest=4000)
    with pytest.raises(TimeoutError):
        hostile.spans("a" * 3000 + "c")


def test_no_more_is_held_back_than_a_block_and_the_longest_match() -> None:
    text = Text()
    scan = Scan(Pattern(r"a.*z", longest=50), text)
    front = Front([scan])
    for _ in range(400):
        text.grow("a")
        scan.settle(final=False)
        front.advance(final=False)
        assert len(text.raw) - front.clear <= 50 + BLOCK


def test_a_match_that_may_still_grow_is_held_back_and_then_found_whole() -> None:
    text = Text()
    scan = Scan(word_pattern(["cat", "cat food"]), text)
    front = Front([scan])
    text.grow("my cat")
    front.advance(final=False)
    assert scan.settle(final=False) == [] and front.clear == 3
    text.grow(" food")
    (span,) = scan.settle(final=True)
    assert text.raw[span.start : span.end] == "cat food"


def test_what_a_match_begins_with_is_shown_and_the_word_that_completes_it_is_not(guarded: Guarded) -> None:
    near = "      - {near: [[draw], [castle, tower], [secret plan]], any_order: true}\n"
    guard, events = guarded(f"categories:\n  own:\n    message: no\n    detectors:\n{near}")
    text = "I draw you a castle from the secret plan, room by room."
    for size in (1, 2, 5, len(text)):
        watch = guard.watch([])
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert (
            "".join([watch.feed(piece)[0] for piece in pieces]) + watch.finish()[0] == "I draw you a castle from the "
        )
        assert watch.decision.action == "block"
    assert {(event["start"], event["end"]) for event in events} == {(2, 40)}


def test_what_is_masked_is_held_back_from_its_first_word_on(guarded: Guarded) -> None:
    guard, _ = guarded("categories:\n  own:\n    action: mask\n    detectors:\n      - near: [[draw], [castle]]\n")
    watch = guard.watch([])
    assert [watch.feed(piece)[0] for piece in ("I ", "draw ", "you a ")] == ["I ", "", ""]
    assert watch.feed("castle.")[0] + watch.finish()[0] == "[removed]."


def test_a_word_of_a_pair_that_stands_alone_delays_nothing(guarded: Guarded) -> None:
    guard, _ = guarded("categories:\n  own:\n    detectors:\n      - {near: [[draw], [castle]], any_order: true}\n")
    watch = guard.watch([])
    assert [watch.feed(piece)[0] for piece in ("I ", "draw ", "a ", "cas", "e ")] == ["I ", "draw ", "a ", "", "case "]


def test_a_pattern_that_cannot_be_followed_while_a_text_grows_is_refused() -> None:
    with pytest.raises(InputError, match=r"lazy repeat before a look behind.*\n  fix: make the repeat greedy"):
        Pattern(r"ab.{1,9}?(?<!x)c")
    assert found(Pattern(r"ab.{1,9}(?<!x)c|what\?|(?<=\?)d"), "ab xc, ab yc what? ?d") == ["ab xc, ab yc", "what?", "d"]
