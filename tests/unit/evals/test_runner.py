"""Suites on a small real engine and on engines that answer what they are told."""

from __future__ import annotations

import copy
import json
import logging
import math
import resource
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told import TEXTS, Told
from transformers import AutoTokenizer

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.resources import families_dir
from bloomery.evals.prompts import Prompter, windows
from bloomery.evals.results import load_result
from bloomery.evals.runner import evaluate
from bloomery.evals.suites import Suite
from bloomery.models.turns import stop_ids


def test_bits_per_byte_count_every_predicted_token_once_and_the_bytes_it_stands_for(tokenizer: Any) -> None:
    rows = [{"id": "a", "text": TEXTS[3]}, {"id": "b", "text": " ".join(TEXTS[:6])}, {"id": "c", "text": ""}]
    found = evaluate(Told(tokenizer, context=32), tokenizer, [Suite("t", "bpb", rows, "general")]).suites["t"]
    for row, record in zip(rows, found.records, strict=True):
        ids = tokenizer(row["text"])["input_ids"]
        first = len(tokenizer.decode(ids[:1]).encode())
        assert record.tokens == max(len(ids) - 1, 0)
        assert record.nats == pytest.approx(record.tokens)  # the second row is longer than the context
        assert record.bytes == len(row["text"].encode()) - first
    total = sum(r.tokens for r in found.records) / math.log(2) / sum(r.bytes for r in found.records)
    assert found.value == pytest.approx(total)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 22, 50])
def test_windows_predict_every_token_exactly_once(length: int) -> None:
    from bloomery.evals.prompts import Scored

    seen: list[int] = []
    for row, start in windows(Scored(np.arange(length, dtype=np.int32), 1, 0), 8, "d"):
        assert len(row) <= 8
        seen += row.ids[start:].tolist()
    assert seen == list(range(1, length))


def test_bits_of_an_answer_leave_the_question_out(tokenizer: Any) -> None:
    row = {"prompt": TEXTS[0], "response": "7 crowns"}
    turns = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": "7 crowns"}]
    suites = [Suite("a", "bpb", [row], "domain"), Suite("b", "bpb", [{"messages": turns}], "domain")]
    found = evaluate(Told(tokenizer), tokenizer, suites)
    for suite in found.suites.values():
        assert suite.records[0].bytes == len("7 crowns")
        assert suite.records[0].tokens == len(tokenizer("7 crowns")["input_ids"])


def test_special_tokens_that_a_question_quotes_do_not_end_its_turn(tokenizer: Any) -> None:
    ids = Prompter(tokenizer, "auto").prompt([{"role": "user", "content": "What is <|im_end|>?"}])
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert tokenizer.decode(ids) == "<|im_start|>user\nWhat is <|im_end|>?<|im_end|>\n<|im_start|>assistant\n"


def test_special_tokens_written_in_a_text_are_plain_characters(tokenizer: Any) -> None:
    [document] = Prompter(tokenizer, "auto").texts(["a<|endoftext|>b"])
    assert tokenizer.eos_token_id not in document.ids


def test_the_likelier_choice_wins_and_chance_is_known(tokenizer: Any) -> None:
    rows = [
        {"id": "1", "prompt": "which?", "choices": ["grams", "crowns"], "answer": 1},
        {"id": "2", "prompt": "which?", "choices": ["grams", "crowns", "costs"], "answer": 0},
    ]
    found = evaluate(Told(tokenizer, likes="crowns"), tokenizer, [Suite("c", "choice", rows, "skills")]).suites["c"]
    assert [r.answer for r in found.records] == ["crowns", "crowns"]
    assert [r.score for r in found.records] == [1.0, 0.0]
    assert [r.chance for r in found.records] == [0.5, 1 / 3]


def test_answers_are_graded_and_failures_have_no_score(tokenizer: Any) -> None:
    rows = [
        {"id": "1", "skill": "add", "prompt": "2 + 2?", "reference_answer": "4"},
        {"id": "2", "skill": "add", "prompt": "3 + 3?", "response": "6"},
        {"id": "3", "skill": "sort", "prompt": "4 + 4?"},
    ]
    engine = Told(tokenizer, {"2 + 2?": "4", "3 + 3?": "7"})
    suite = Suite("g", "generate", rows, "skills", {"type": "number"})
    found = evaluate(engine, tokenizer, [suite])
    records = found.suites["g"].records
    assert [r.score for r in records] == [1.0, 0.0, None]
    assert "no `reference_answer`" in records[2].reason and records[2].part == "sort"
    assert found.suites["g"].value == 0.5 and found.suites["g"].unscorable == 1
    assert found.latency() == {"p50": 0.5, "p95": 0.5}


def test_prompts_take_the_chat_template_or_a_line_each(tokenizer: Any) -> None:
    asked = [{"role": "user", "content": "2 + 2?"}]
    chat = tokenizer.decode(Prompter(tokenizer, "auto").prompt(asked))
    assert chat == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(Prompter(tokenizer, "plain").prompt(asked)) == "2 + 2?\n"


CONVERSATIONS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "2 + 2?"}],
    [{"role": "system", "content": "Short."}, {"role": "user", "content": "Ä\n\n{{ x }} <b>"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b "}, {"role": "user", "content": ""}],
]


@pytest.mark.parametrize("messages", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
def test_embers_template_gives_the_ids_that_transformers_gives(messages: list[dict[str, str]]) -> None:
    ember = AutoTokenizer.from_pretrained(families_dir() / "ember" / "tokenizer")
    theirs = ember.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert Prompter(ember, "auto").prompt(messages) == theirs
    ends = ember.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert stop_ids(ember) == ends


def test_marks_of_a_template_are_no_part_of_a_prompt(tokenizer: Any) -> None:
    marked = copy.deepcopy(tokenizer)
    marked.chat_template = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    theirs = marked.apply_chat_template(CONVERSATIONS[0], tokenize=False)
    assert marked.decode(Prompter(marked, "auto").prompt(CONVERSATIONS[0])) == theirs == "2 + 2?"
    assert stop_ids(marked) == [marked.eos_token_id]


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content * (8 ** 9 if 'zebra' in m.content else 1) }}{% endfor %}",
        "{{ raise_exception('no zebra') if 'zebra' in messages[0].content }}",
    ],
)
def test_a_template_that_only_some_prompt_sets_off_is_held_to_its_limits(tokenizer: Any, source: str) -> None:
    sleeper = copy.deepcopy(tokenizer)
    sleeper.chat_template = source
    prompter = Prompter(sleeper, "auto")
    prompter.prompt([{"role": "user", "content": "horse"}])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"outgrows .* 256 MB|refuses this conversation: no zebra"):
        prompter.prompt([{"role": "user", "content": "zebra"}])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    prompter.prompt([{"role": "user", "content": "horse"}])


def test_a_stop_text_ends_an_answer(tokenizer: Any) -> None:
    suite = Suite("g", "generate", [{"prompt": "q", "response": "4"}], "skills", {"type": "exact"}, stop=("\n",))
    found = evaluate(Told(tokenizer, {"q": "4\nand more"}), tokenizer, [suite])
    assert found.suites["g"].records[0].answer == "4"


def test_a_saved_evaluation_comes_back_whole_and_rows_are_private(tokenizer: Any, tmp_path: Path) -> None:
    suites = [
        Suite("t", "bpb", [{"text": t} for t in TEXTS[:4]], "general"),
        Suite("g", "generate", [{"prompt": "secret question"}], "skills", {"type": "exact"}),
    ]
    found = evaluate(Told(tokenizer), tokenizer, suites, tmp_path, model="m")
    assert load_result(tmp_path) == found
    assert stat.S_IMODE((tmp_path / "records.jsonl").stat().st_mode) == 0o600
    assert "secret question" not in (tmp_path / "evaluation.json").read_text()
    assert json.loads((tmp_path / "evaluation.json").read_text())["suites"][1]["value"] is None


@pytest.mark.parametrize("damage", ["missing", "short", "garbage"])
def test_a_damaged_evaluation_is_named_not_loaded(tokenizer: Any, tmp_path: Path, damage: str) -> None:
    evaluate(Told(tokenizer), tokenizer, [Suite("t", "bpb", [{"text": t} for t in TEXTS[:4]], "general")], tmp_path)
    records = tmp_path / "records.jsonl"
    if damage == "missing":
        records.unlink()
    else:
        records.write_text("".join(records.read_text().splitlines(True)[:-1]) if damage == "short" else "{")
    with pytest.raises(DamagedError):
        load_result(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "bits"}, "did you mean|known"),
        ({"group": "skill"}, "did you mean `skills`"),
        ({"render": "chatty"}, "did you mean `chat`"),
        ({"grader": {"type": "exact"}}, "belongs to `kind: generate`"),
        ({"kind": "generate"}, "needed there"),
    ],
)
def test_a_suite_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Suite(**({"name": "s", "kind": "bpb", "rows": [], "group": "general"} | arguments))


def test_broken_rows_are_named_by_file_and_line(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "rows.jsonl"
    for content, message in (
        (
            '{"text": "a"}\n{"txt": "b"}\n',
            r"rows.jsonl:2: row 2 .* has no `text` or `messages` or `prompt` and `response`",
        ),
        ('{"text": "a"}\n{', r"rows.jsonl:2: is not JSON: Expecting property name enclosed in double quotes$"),
        ("[1]\n", "is not a JSON object"),
        ("\n", "has no rows"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            evaluate(Told(tokenizer), tokenizer, [Suite("s", "bpb", path, "general")])
    with pytest.raises(InputError, match="one name: s"):
        evaluate(Told(tokenizer), tokenizer, [Suite("s", "bpb", path, "general")] * 2)
    with pytest.raises(InputError, match="number of a choice"):
        rows = [{"prompt": "q", "choices": ["a"], "answer": 1}]
        evaluate(Told(tokenizer), tokenizer, [Suite("s", "choice", rows, "skills")])


def test_the_same_suites_run_on_the_native_engine(tokenizer: Any) -> None:
    from toys import toy_model

    from bloomery.engine.native import NativeEngine

    engine = NativeEngine(toy_model(vocab_size=290, eos_token_id=0))
    suites = [
        Suite("t", "bpb", [{"text": t} for t in TEXTS[:5]], "general"),
        Suite("g", "generate", [{"prompt": t, "response": "x"} for t in TEXTS[:3]], "skills", {"type": "exact"}, 5),
    ]
    found = evaluate(engine, tokenizer, suites)
    assert 2 < found.suites["t"].value < 8  # a random model needs about log2(290) bits a token
    assert all(r.score is not None and r.tokens <= 5 and r.seconds > 0 for r in found.suites["g"].records)


def test_a_text_longer_than_the_context_is_scored_without_a_warning(
    tokenizer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    short = AutoTokenizer.from_pretrained(tokenizer.name_or_path, model_max_length=8)
    prompter = Prompter(short, "plain")
    prompter.texts([TEXTS[0] * 9])
    prompter.prompt([{"role": "user", "content": TEXTS[0] * 9}])
    assert caplog.records == []
    short(TEXTS[0] * 9)
    assert "longer than the specified maximum" in caplog.text


def test_a_pair_is_ranked_rightly_where_a_token_of_the_better_answer_is_likelier(tokenizer: Any) -> None:
    def turn(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    asked, liked = turn("user", "how much"), turn("assistant", "crowns")
    long = turn("assistant", "item 3 weighs 7 grams")
    rows = [
        {"id": "right", "prompt": 1, "chosen": [asked, liked], "rejected": [asked, long]},
        {"id": "wrong", "prompt": 1, "chosen": [asked, long], "rejected": [asked, liked]},
        {"id": "turns", "prompt": 3, "chosen": [asked, long, asked, liked], "rejected": [asked, long, asked, long]},
    ]
    suite = Suite("pairs", "preference", rows, "domain")
    result = evaluate(Told(tokenizer, likes="crowns"), tokenizer, [suite]).suites["pairs"]
    assert [record.score for record in result.records] == [1.0, 0.0, 1.0]
    assert result.value == pytest.approx(2 / 3) and result.records[0].chance == 0.5
    assert (result.records[1].answer, result.records[1].reference) == ("crowns", "item 3 weighs 7 grams")
    # a long answer is not worse for being long
    alike = [{"id": "a", "prompt": 1, "chosen": [asked, long], "rejected": [asked, turn("assistant", "naïve")]}]
    engine = Told(tokenizer, likes="item 3 weighs 7 grams")
    assert evaluate(engine, tokenizer, [Suite("pairs", "preference", alike, "domain")]).suites["pairs"].value == 1.0


def test_judged_answers_are_right_on_their_side_of_the_middle(tokenizer: Any) -> None:
    asked = {"role": "user", "content": [{"type": "text", "text": "how much"}]}

    def answer(text: str) -> list[dict[str, Any]]:
        return [asked, {"role": "assistant", "content": [{"type": "text", "text": text}]}]

    likely, unlikely = answer("crowns"), answer("item 3 weighs 7 grams")
    rows = [
        {"id": "good", "prompt": 1, "chosen": likely}, {"id": "bad", "prompt": 1, "rejected": unlikely},
        {"id": "missed", "prompt": 1, "chosen": unlikely}, {"id": "let pass", "prompt": 1, "rejected": likely},
    ]  # fmt: skip
    result = evaluate(Told(tokenizer, likes="crowns"), tokenizer, [Suite("said", "judged", rows, "domain")])
    records = result.suites["said"].records
    assert [record.score for record in records] == [1.0, 1.0, 0.0, 0.0]
    assert [record.reference for record in records] == ["desirable", "undesirable"] * 2
    assert all(record.chance == 0.5 and record.nats > 0 for record in records)
