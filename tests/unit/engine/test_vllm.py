"""vLLM behind the engine's contract, against what a real server answered (`bench/record_vllm.py`), replayed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vllm_replay import TOKEN, Replay, replaying

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.rows import TokenRow
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Busy, Engine, Grammar, Request, Sampling, Service, Token
from bloomery.engine.vllm import VllmEngine, VllmService
from bloomery.engine.vllm_wire import check, read_tokens, seed_of, told_exactly
from bloomery.models.load import load_model

EMBER = Path(__file__).parents[3] / "families/ember/posttrained"
PROMPTS = ([1, 350, 266, 500, 200, 37], [1, 410, 29, 35], [90, 91, 17])
SCHEMA = (
    '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": false}'
)


@pytest.fixture
def server() -> Iterator[str]:
    with replaying() as url:
        yield url


@pytest.fixture
def engine(server: str) -> VllmEngine:
    return VllmEngine(server, TOKEN, model="model")


@pytest.fixture(scope="module")
def native() -> NativeEngine:
    return NativeEngine(load_model(EMBER))


def rows(*ids: list[int]) -> list[TokenRow]:
    return [TokenRow(np.array(one, np.int32), {}, str(n), "", "") for n, one in enumerate(ids)]


def test_it_is_an_engine_and_a_service(server: str, engine: VllmEngine) -> None:
    first: Engine = engine
    second: Service = VllmService(server, TOKEN)
    assert (first.context, second.context) == (64, 64)


def test_greedy_answers_and_their_log_probabilities_are_the_native_engines(
    engine: VllmEngine, native: NativeEngine
) -> None:
    ours = native.generate(PROMPTS, Sampling(8))
    theirs = engine.generate(PROMPTS, Sampling(8, top_logprobs=2))
    assert [a.ids for a in theirs] == [a.ids for a in ours]
    assert [a.finish_reason for a in theirs] == [a.finish_reason for a in ours]
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
        assert one.logprobs.dtype == np.float32
        assert [top[0][0] for top in one.top] == list(one.ids)
        assert all(len(top) == 2 and top[0][1] >= top[1][1] for top in one.top)


def test_sampled_log_probabilities_are_those_of_the_native_forward(engine: VllmEngine, native: NativeEngine) -> None:
    answers = engine.generate(PROMPTS[:2], Sampling(8, temperature=1.0, seed=7))
    scored = native.score(rows(*([*p, *a.ids] for p, a in zip(PROMPTS, answers, strict=False))))
    for prompt, answer, logp in zip(PROMPTS, answers, scored, strict=False):
        np.testing.assert_allclose(answer.logprobs, logp[len(prompt) :], atol=1e-4)


def test_scores_are_the_native_engines_for_a_row_of_one_and_one_as_long_as_the_context(
    engine: VllmEngine, native: NativeEngine
) -> None:
    given = rows([5], [5, 6], [*PROMPTS[0], 3000], (PROMPTS[0] * 11)[:64])
    found = engine.score(given)
    for one, other in zip(found, native.score(given), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert one[0] == 0
    assert [len(one) for one in found] == [1, 2, 7, 64]


def test_grammars_stops_bias_and_penalties_are_honoured(engine: VllmEngine) -> None:
    [answer] = engine.generate(PROMPTS[:1], Sampling(40, grammar=Grammar("json_schema", SCHEMA)))
    text = load_model(EMBER, check=False).tokenizer.decode(answer.body)
    assert json.loads(text) in ({"a": "x"}, {"a": "y"})
    [yes] = engine.generate(PROMPTS[:1], Sampling(8, grammar=Grammar("lark", 'start: "yes" | "no"')))
    assert (yes.finish_reason, yes.stopped, len(yes.body)) == ("stop", True, len(yes.ids) - 1)
    [stop] = engine.generate(PROMPTS[:1], Sampling(8, stop_ids=(577,), logit_bias=((100, -5.0),), presence_penalty=0.5))
    assert (stop.ids[-1], stop.finish_reason, stop.body) == (577, "stop", stop.ids[:-1])


def test_an_answer_ends_with_the_context(engine: VllmEngine) -> None:
    [answer] = engine.generate(PROMPTS[:1], Sampling(200))
    assert len(answer.ids) <= 64 - len(PROMPTS[0])


def test_a_stream_tells_the_same_tokens_as_they_come(server: str, native: NativeEngine) -> None:
    answer, done = Answer(), threading.Event()

    def told(token: Token) -> None:
        answer.take(token)
        if token.ended:
            done.set()

    VllmService(server, TOKEN, model="model").submit(Request(PROMPTS[0], Sampling(6, top_logprobs=1)), told)
    assert done.wait(20)
    [ours] = native.generate(PROMPTS[:1], Sampling(6))
    assert (tuple(answer.ids), answer.ended) == (ours.ids, ours.finish_reason)
    np.testing.assert_allclose(answer.logprobs, ours.logprobs, atol=1e-4)


def test_a_broken_stream_ends_with_an_error(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "drop", True)
    told: list[Token] = []
    service = VllmService(server, TOKEN, model="model")
    service.submit(Request(PROMPTS[0], Sampling(6, top_logprobs=1)), told.append).join(20)  # type: ignore[attr-defined]
    assert (told[-1].ended, told[-1].id) == ("error", -1)
    assert told[-1].error
    assert sum(token.ended is not None for token in told) == 1


def test_a_cancelled_stream_says_so_and_a_full_service_is_busy(server: str) -> None:
    held, told = threading.Event(), []

    def wait(token: Token) -> None:
        told.append(token)
        held.wait(20)

    service = VllmService(server, TOKEN, model="model", most=1)
    ticket: Any = service.submit(Request(PROMPTS[0], Sampling(6, top_logprobs=1)), wait)
    with pytest.raises(Busy):
        service.submit(Request(PROMPTS[0], Sampling(6, top_logprobs=1)), told.append)
    ticket.cancel()
    held.set()
    ticket.join(20)
    assert told[-1].ended == "cancelled"
    assert len(told) < 6
    again: Any = service.submit(Request(PROMPTS[0], Sampling(6, top_logprobs=1)), told.append)
    again.join(20)
    assert told[-1].ended == "length"


def test_adapters_are_loaded_asked_by_name_and_dropped(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "server_name", "adapters")
    engine = VllmEngine(server, TOKEN)
    engine.load_adapter("mine", Path("/recorded/adapter"))
    [answer] = engine.generate(PROMPTS[:1], Sampling(6), "mine")
    assert len(answer.ids) == 6
    engine.drop_adapter("mine")
    with pytest.raises(InputError, match="The model `mine` does not exist"):
        engine.generate(PROMPTS[:1], Sampling(6), "mine")
    with pytest.raises(InputError, match="Loading lora none failed"):
        engine.load_adapter("none", Path("/recorded/adapter/nowhere"))


def test_what_the_server_refuses_is_told_in_its_words(engine: VllmEngine) -> None:
    with pytest.raises(InputError, match="key must be a string"):
        engine.generate(PROMPTS[:1], Sampling(8, grammar=Grammar("json_schema", "{no")))
    with pytest.raises(InputError, match="Token id 99999 is out of vocabulary"):
        engine.generate([[99_999]], Sampling(2))
    with pytest.raises(InputError, match="has no /v1/load_lora_adapter"):
        engine.load_adapter("mine", Path("/adapter"))


@pytest.mark.parametrize(
    ("status", "text", "error", "said"),
    [
        (429, '{"error":{"message":"wait"}}', Busy, "wait"),
        (500, '{"error":{"message":"EngineCore encountered an issue"}}', BloomeryError, "failed: EngineCore"),
        (200, "{}", BloomeryError, "answers otherwise than vLLM"),
        (200, '{"choices": []}', BloomeryError, "answers otherwise than vLLM"),
        (200, '{"choices": [{"text": "hi", "finish_reason": "stop"}]}', BloomeryError, "tells no token ids|otherwise"),
    ],
)
def test_faults_of_the_server_are_no_answers(
    engine: VllmEngine, status: int, text: str, error: type[Exception], said: str
) -> None:
    Replay.instead["/v1/completions"] = (status, text)
    with pytest.raises(error, match=said):
        engine.generate(PROMPTS[:1], Sampling(8, top_logprobs=2))


def test_a_wrong_token_model_or_address_is_named(server: str) -> None:
    with pytest.raises(InputError, match="refuses the token"):
        VllmEngine(server, "wrong")
    with pytest.raises(InputError, match="no model `other`"):
        VllmEngine(server, TOKEN, model="other")
    with pytest.raises(BloomeryError, match=r"http://127\.0\.0\.1:9 does not answer"):
        VllmEngine("http://127.0.0.1:9")


def test_prompts_without_room_and_scores_beside_adapters_are_refused(server: str, engine: VllmEngine) -> None:
    for prompt in ([], [5] * 64):
        with pytest.raises(InputError, match="the context holds 64 with the answer"):
            engine.generate([prompt], Sampling(8))
    with pytest.raises(InputError, match="row `0` has 65 tokens"):
        engine.score(rows([5] * 65))
    with pytest.raises(InputError, match="may die of a request for scores"):
        VllmEngine(server, TOKEN, scores=False).score(rows([5, 6]))


@pytest.mark.parametrize(
    ("sampling", "processed", "raw"),
    [
        (Sampling(), "", ""),
        (Sampling(temperature=1.0), "", ""),
        (Sampling(temperature=0.7), "", "temperature: 0.7"),
        (Sampling(temperature=1.0, top_p=0.9), "top_p: 0.9", ""),
        (Sampling(temperature=1.0, top_k=5), "top_k: 5", ""),
        (Sampling(temperature=1.0, min_p=0.1), "min_p: 0.1", ""),
        (Sampling(top_p=0.9), "", ""),
        (Sampling(repetition_penalty=1.2), "", "repetition_penalty: 1.2"),
        (Sampling(logit_bias=((1, 2.0),)), "", "logit_bias: ((1, 2.0),)"),
        (Sampling(grammar=Grammar("regex", "a")), "", "grammar: regex"),
    ],
)
def test_each_mode_of_log_probabilities_is_right_for_what_it_is(sampling: Sampling, processed: str, raw: str) -> None:
    assert told_exactly(sampling, "processed_logprobs") == processed
    assert told_exactly(sampling, "raw_logprobs") == raw
    if processed:
        with pytest.raises(InputError, match="vLLM tells other log-probabilities than training needs"):
            check(sampling, "processed_logprobs", exact=True)
    check(sampling, "processed_logprobs", exact=False)


def test_what_vllm_would_change_in_silence_is_refused() -> None:
    with pytest.raises(InputError, match=r"`temperature: 0\.001` would be taken as 0.01"):
        check(Sampling(temperature=0.001), "processed_logprobs", exact=False)
    with pytest.raises(InputError, match=r"`logit_bias: -101\.0` would be cut to 100"):
        check(Sampling(logit_bias=((3, -101.0),)), "processed_logprobs", exact=False)


def test_seeds_of_answers_differ_and_fit_vllm() -> None:
    seeds = {seed_of(seed, number) for seed in range(50) for number in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_forbidden_tokens_are_no_alternatives() -> None:
    told = {"token_logprobs": [-0.1], "top_logprobs": [{"token_id:5": -0.1, "token_id:6": -9999.0}]}
    [token] = read_tokens({"token_ids": [5], "logprobs": told, "finish_reason": None})
    assert token.top == ((5, -0.1),)
