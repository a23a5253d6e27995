"""Chat templates render in a process of their own: marks, prefixes, refusals, limits."""

from __future__ import annotations

import gc
import os

import pytest

from bloomery.core.template import END, START, ChatTemplate, Conversation, RunawayTemplate, TemplateFault

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
LISTED = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)
SLOW = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
LARGE = "{% set x = 'a' * 10 ** 9 %}"


def when(trigger: str, then: str) -> str:
    return f"{{% for m in messages %}}{{% if '{trigger}' in m.content %}}{then}{{% endif %}}{{% endfor %}}{LISTED}"


def test_conversations_are_rendered_in_order_with_what_stands_before_each_answer() -> None:
    found = ChatTemplate(LISTED, {})([Conversation(TURNS, before=[1]), Conversation(TURNS[:1], prompt=True)])
    assert [(one.text, one.starts, one.error) for one in found] == [("u:a;a:b;", (6,), None), ("u:a;a:", (), None)]


def test_generation_blocks_are_marked_and_need_no_prefixes() -> None:
    marked = LISTED.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}")
    [found] = ChatTemplate(marked, {})([Conversation(TURNS[:1], before=[0])])
    assert (found.text, found.starts) == (f"u:{START}a{END};", ())


def test_a_text_that_does_not_begin_with_its_prefix_is_told() -> None:
    [found] = ChatTemplate("{{ messages | length }}", {})([Conversation(TURNS, before=[1])])
    assert found.starts == (-1,)


def test_a_refusal_is_of_one_conversation_and_names_special_tokens_and_tools() -> None:
    template = ChatTemplate("{{ bos_token }}{{ tools[0].name }}", {"bos_token": "<s>"})
    found = template([Conversation(TURNS, [{"name": "t"}]), Conversation(TURNS)])
    assert found[0].text == "<s>t" and found[1].error == "None has no element 0"


@pytest.mark.parametrize("then", [SLOW, LARGE], ids=["time", "memory"])
def test_a_template_that_runs_away_is_stopped_and_the_next_call_works(then: str) -> None:
    template = ChatTemplate(when("bomb", then), {})
    assert template([Conversation(TURNS)])[0].text == "u:a;a:b;"
    with pytest.raises(RunawayTemplate, match="outgrows 1 s of processor time or 256 MB"):
        template([Conversation(TURNS), Conversation([{"role": "user", "content": "bomb"}])])
    assert template([Conversation(TURNS)])[0].text == "u:a;a:b;"


def test_a_template_that_does_not_parse_is_at_fault_itself() -> None:
    with pytest.raises(TemplateFault, match="does not parse"):
        ChatTemplate("{% for %}", {})([Conversation(TURNS)])


def test_the_process_ends_with_the_template() -> None:
    template = ChatTemplate(LISTED, {})
    template([Conversation(TURNS)])
    assert template._process is not None
    process = template._process.pid
    del template
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_secrets_of_the_environment_do_not_reach_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_TOKEN", "canary")
    template = ChatTemplate(LISTED, {})
    template([Conversation(TURNS)])
    assert template._process is not None
    if os.path.exists(place := f"/proc/{template._process.pid}/environ"):  # noqa: PTH110 - Linux alone has it
        assert b"canary" not in open(place, "rb").read()  # noqa: SIM115
