"""What word lists and patterns find, in which disguises, and what they leave alone."""

from __future__ import annotations

import pytest

from bloomery.core.errors import InputError
from bloomery.serve.policy.fold import Text
from bloomery.serve.policy.pattern import BLOCK, Pattern, Scan
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
    for _ in range(400):
        text.grow("a")
        scan.advance(final=False)
        assert len(text.raw) - scan.clear <= 50 + BLOCK


def test_a_match_that_may_still_grow_is_held_back_and_then_found_whole() -> None:
    text = Text()
    scan = Scan(word_pattern(["cat", "cat food"]), text)
    text.grow("my cat")
    assert scan.advance(final=False) == [] and scan.clear == 3
    text.grow(" food")
    (span,) = scan.advance(final=True)
    assert text.raw[span.start : span.end] == "cat food"
