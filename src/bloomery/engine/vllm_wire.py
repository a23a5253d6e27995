"""What goes to a vLLM server and what comes back, in the words of the engine's contract. No network here.

vLLM tells log-probabilities of one of two distributions, by `--logprobs-mode`. `processed_logprobs` is under
penalties, bias, grammar and temperature, as ours are, but also after top-k, top-p and min-p; `raw_logprobs`, its
default, is before all of them. So each mode is right for some requests (`told_exactly`), and the others are refused
where exact figures are wanted. Greedy answers are scored at temperature 1, there as here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.rows import Floats
from bloomery.engine.protocol import Completion, Reason, Sampling, Token

Mode = Literal["processed_logprobs", "raw_logprobs"]

BIAS = 100.0
"""vLLM cuts a larger logit bias to this, either way (its `SamplingParams`)."""
COLDEST = 0.01
"""vLLM takes a lower temperature, except 0, as this one (its `_MAX_TEMP`)."""
MASKED = -9000.0
"""A grammar's forbidden token is told with a log-probability of -9999."""
_REASONS: Mapping[str, Reason] = {"stop": "stop", "length": "length", "abort": "cancelled"}


def told_exactly(sampling: Sampling, mode: Mode) -> str:
    """The first parameter under which vLLM tells other log-probabilities than ours, as `name: value`; "" if none."""
    cut = {"top_p": (sampling.top_p, 1.0), "top_k": (sampling.top_k, 0), "min_p": (sampling.min_p, 0.0)}
    changed: dict[str, tuple[Any, Any]] = {
        "temperature": (sampling.temperature, 1.0 if sampling.temperature else 0.0),
        "presence_penalty": (sampling.presence_penalty, 0.0),
        "frequency_penalty": (sampling.frequency_penalty, 0.0),
        "repetition_penalty": (sampling.repetition_penalty, 1.0),
        "logit_bias": (sampling.logit_bias, ()),
        "grammar": (sampling.grammar and sampling.grammar.kind, None),
    }
    # a greedy choice is made before vLLM cuts the distribution
    against = changed if mode == "raw_logprobs" else cut if sampling.temperature else {}
    return next((f"{name}: {value}" for name, (value, usual) in against.items() if value != usual), "")


def check(sampling: Sampling, mode: Mode, exact: bool) -> None:
    """Raise `InputError` for what vLLM cannot honour, naming it."""
    if 0 < sampling.temperature < COLDEST:
        message = f"`temperature: {sampling.temperature}` would be taken as {COLDEST} by vLLM"
        raise InputError(message, fix=f"set 0 for greedy answers, or {COLDEST} and more")
    if far := next((bias for _, bias in sampling.logit_bias if abs(bias) > BIAS), None):
        raise InputError(f"`logit_bias: {far}` would be cut to {BIAS:g} by vLLM", fix=f"stay within {BIAS:g}")
    if exact and (named := told_exactly(sampling, mode)):
        other = "raw_logprobs" if mode == "processed_logprobs" else "processed_logprobs"
        raise InputError(
            f"with `{named}` vLLM tells other log-probabilities than training needs (`--logprobs-mode {mode}`)",
            fix=f"leave it out, start vLLM with `--logprobs-mode {other}`, or use the native engine",
        )


def completion_body(model: str, prompt: Sequence[int], sampling: Sampling, room: int, number: int) -> dict[str, Any]:
    """The body of a `/v1/completions` request: every parameter is sent, so that no default of the server acts."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": [int(token) for token in prompt],
        "max_tokens": min(sampling.max_new_tokens, room),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": seed_of(sampling.seed, number),
        "logprobs": sampling.top_logprobs,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "skip_special_tokens": False,
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.stop_ids is not None:
        body |= {"stop_token_ids": list(sampling.stop_ids), "ignore_eos": True}
    if sampling.grammar is not None:
        key = {"json_schema": "json", "regex": "regex", "lark": "grammar"}[sampling.grammar.kind]
        body["structured_outputs"] = {key: sampling.grammar.text}
    return body


def score_body(model: str, ids: Sequence[int]) -> dict[str, Any]:
    """The body that asks for the log-probabilities of `ids` but the last, and of the last as a next token.

    vLLM wants room for one new token at least, so a row as long as the context cannot be sent whole.
    """
    return {
        "model": model,
        "prompt": [int(token) for token in ids[:-1]],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
        "logprobs": 0,
        "logprob_token_ids": [int(ids[-1])],
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }


def seed_of(seed: int, number: int) -> int:
    """A seed for answer `number`, in vLLM's range: answers to one prompt differ, and the same ones come again."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) >> 1


def read_completion(answer: Mapping[str, Any], seconds: float) -> Completion:
    """An answer of `/v1/completions` as a `Completion`. Raises `ValueError` for one that tells no tokens."""
    tokens = read_tokens(answer["choices"][0])
    ids = tuple(token.id for token in tokens if token.id >= 0)
    logprobs = np.array([token.logprob for token in tokens if token.id >= 0], np.float32)
    top = tuple(token.top for token in tokens if token.id >= 0)
    ended = tokens[-1].ended if tokens else None
    stopped = ended == "stop" and tokens[-1].id >= 0
    return Completion(ids, logprobs, ended or "error", seconds, 0.0, top, stopped)


def read_tokens(choice: Mapping[str, Any]) -> list[Token]:
    """The tokens of a choice, or of a piece of one that streams; the last has its `ended`."""
    ids, told = choice.get("token_ids"), choice.get("logprobs") or {}
    reason = choice.get("finish_reason")
    ended: Reason | None = None if reason is None else _REASONS.get(reason, "error")
    if ids == [] and ended is not None:
        return [Token(-1, 0.0, ended=ended)]
    if ids is None or len(told.get("token_logprobs") or ()) != len(ids):
        raise ValueError("the server tells no token ids or log-probabilities; vLLM 0.10.2 and later does")
    tokens = [
        Token(int(id_), float(logp), _top(told["top_logprobs"][i]))
        for i, (id_, logp) in enumerate(zip(ids, told["token_logprobs"], strict=True))
    ]
    if ended is not None:
        tokens[-1] = replace(tokens[-1], ended=ended)
    return tokens


def _top(told: Mapping[str, float] | None) -> tuple[tuple[int, float], ...]:
    pairs = ((int(name.removeprefix("token_id:")), float(logp)) for name, logp in (told or {}).items())
    return tuple(sorted((pair for pair in pairs if pair[1] > MASKED), key=lambda pair: -pair[1]))


def read_scores(answer: Mapping[str, Any], ids: Sequence[int]) -> Floats:
    """float32[T] of a `score_body` answer: log-probability of `ids[t]` given `ids[:t]`; 0 at t = 0."""
    choice = answer["choices"][0]
    told = choice.get("prompt_logprobs")
    if told is None or len(told) != len(ids) - 1:
        raise ValueError("the server tells no log-probabilities of the prompt")
    found = [0.0, *(float(place[str(id_)]["logprob"]) for place, id_ in zip(told[1:], ids[1:-1], strict=True))]
    last = choice["logprobs"]["top_logprobs"][0].get(f"token_id:{ids[-1]}")
    if last is None or not all(math.isfinite(logp) for logp in found):
        raise ValueError("the server does not tell the log-probability of a given token; vLLM 0.12 and later does")
    return np.array([*found, float(last)], np.float32)
