"""A chat template is tried when its tokenizer is loaded, once for all the times that one process loads it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bloomery.core.errors import Where
from bloomery.core.template import ChatTemplate, RunawayTemplate
from bloomery.models.template import check

LARGE = "{% set x = 'a' * 10 ** 9 %}"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates that got a process."""
    found, start = list[str](), ChatTemplate._start

    def counted(template: ChatTemplate) -> object:
        found.append(template.source)
        return start(template)

    monkeypatch.setattr(ChatTemplate, "_start", counted)
    return found


def test_a_template_is_tried_once_with_the_same_tokens(started: list[str]) -> None:
    template = "{{ bos_token }}{{ messages[0].content }} of this test"
    for token in ("<s>", "<s>", "<t>"):
        check(SimpleNamespace(chat_template=template, bos_token=token), Where(Path("m")))
    assert started == [template] * 2


def test_one_that_ran_away_is_refused_every_time_by_its_own_place(started: list[str]) -> None:
    for place in ("one", "other"):
        with pytest.raises(RunawayTemplate, match="`default`: the chat template outgrows 1 s") as refused:
            check(SimpleNamespace(chat_template=LARGE), Where(Path(place)))
        assert refused.value.where == Where(Path(place)) and refused.value.fix
    assert started == [LARGE]
