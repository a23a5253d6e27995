"""lm-eval's tasks on our engine: the harness asks, the engine scores and answers, its figures come back as a suite.

Needs the `eval` extra. Requests are tokenized as the harness's own `hf` model does, so that figures are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.rows import TokenRow
from bloomery.engine.protocol import Engine, Sampling
from bloomery.evals.results import Record, SuiteResult
from bloomery.evals.suites import Suite

LENGTH = 256
"""Tokens of an answer where the task does not say, as in lm-eval."""
SKIPPED = ("alias", "name", "sample_len", "samples", "sample_count")


def run_tasks(engine: Engine, tokenizer: Any, suite: Suite, seed: int = 0) -> list[SuiteResult]:
    """One result a task, called `suite/task`. Raises `InputError` for a task that lm-eval does not know."""
    found = evaluate_tasks(engine, tokenizer, suite, seed)
    return [_result(suite, name, found) for name in found["results"] if found["samples"].get(name)]


def evaluate_tasks(engine: Engine, tokenizer: Any, suite: Suite, seed: int = 0) -> dict[str, Any]:
    """What lm-eval's `simple_evaluate` returns for the suite's tasks on our engine."""
    evaluator, tasks = _harness()
    manager = tasks.TaskManager(include_path=None if suite.include is None else str(suite.include))
    unknown = [name for name in suite.tasks if name not in manager.all_tasks]
    if unknown:
        message = f"lm-eval knows no task `{unknown[0]}` of the suite `{suite.name}`"
        raise InputError(message, fix="see `lm-eval ls tasks`; `include` names a folder of task files")
    seeds = {f"{kind}_seed": seed for kind in ("random", "numpy_random", "torch_random", "fewshot_random")}
    return dict(
        evaluator.simple_evaluate(
            model=language_model(engine, tokenizer),
            tasks=list(suite.tasks),
            task_manager=manager,
            limit=suite.limit,
            bootstrap_iters=1_000,
            confirm_run_unsafe_code=suite.trusted,
            apply_chat_template=suite.render == "chat",
            **seeds,
        )
    )


def language_model(engine: Engine, tokenizer: Any) -> Any:
    """Our engine as lm-eval's `LM`."""
    _harness()
    from lm_eval.api.model import TemplateLM

    class EngineLM(TemplateLM):  # type: ignore[misc,unused-ignore]
        """Scores by `Engine.score`, answers by `Engine.generate`."""

        backend = "causal"
        tokenizer_name = str(getattr(tokenizer, "name_or_path", ""))
        eot_token_id = int(tokenizer.eos_token_id)
        prefix_token_id = eot_token_id if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)

        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tokenizer

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            """Ids; a text that begins with the prefix token gets no second one."""
            options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
            if string.startswith(tokenizer.decode([self.prefix_token_id])):
                options["add_special_tokens"] = False
            return list(tokenizer.encode(string, **options))

        def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
            return _loglikelihoods(engine, [(context, ending) for _, context, ending in requests])

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            """Log-likelihood of whole texts, in windows of the context that do not overlap."""
            return _rolling(engine, [self.tok_encode(one.args[0]) for one in requests], self.prefix_token_id)

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            """Answers, cut at the texts that the task stops at."""
            prompts = [self.tok_encode(one.args[0]) for one in requests]
            return _answers(engine, tokenizer, prompts, [one.args[1] for one in requests])

    return EngineLM()


def _rolling(engine: Engine, texts: Sequence[list[int]], prefix: int) -> list[float]:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    windows: list[tuple[int, tuple[list[int], list[int]]]] = []
    for number, ids in enumerate(texts):
        cut = get_rolling_token_windows(ids, prefix, engine.context, context_len=1)
        windows += [(number, make_disjoint_window(one)) for one in cut]
    total = [0.0] * len(texts)
    scores = _loglikelihoods(engine, [window for _, window in windows])
    for (number, _), (logp, _) in zip(windows, scores, strict=True):
        total[number] += logp
    return total


def _answers(
    engine: Engine, tokenizer: Any, prompts: Sequence[list[int]], options: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Answers to prompts, each by its options; a prompt that leaves too little room loses its beginning."""
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

    answers = [""] * len(prompts)
    end = tokenizer.decode([tokenizer.eos_token_id], skip_special_tokens=False)
    for each, numbers in _alike(options):
        told = normalize_gen_kwargs(dict(each), default_max_gen_toks=LENGTH)
        until = handle_stop_sequences(told.pop("until", None), eos=end)
        room = int(told["max_gen_toks"])
        found = engine.generate([prompts[n][-(engine.context - room) :] for n in numbers], _sampling(told, room))
        for n, completion in zip(numbers, found, strict=True):
            text = tokenizer.decode(completion.body, skip_special_tokens=True)
            answers[n] = postprocess_generated_text(text, until, None)
    return answers


def _sampling(options: Mapping[str, Any], room: int) -> Sampling:
    """lm-eval's options of generation; those that we do not have are refused by `Sampling`'s own checks."""
    drawn = bool(options.get("do_sample", False))
    temperature = float(options.get("temperature") or 0.0) if drawn else 0.0
    return Sampling(room, temperature, float(options.get("top_p", 1.0)) if drawn else 1.0)


def _alike(options: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], list[int]]]:
    """Numbers of requests by their options."""
    found: dict[str, tuple[Mapping[str, Any], list[int]]] = {}
    for number, one in enumerate(options):
        found.setdefault(repr(sorted(one.items(), key=lambda item: item[0])), (one, []))[1].append(number)
    return list(found.values())


def _loglikelihoods(engine: Engine, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
    """(log-likelihood of the ending after its context, whether greedy decoding gives it), cut on the left to fit.

    The second is worked out only where a task looks at it, for all pairs at once: it takes a generation of its own.
    """
    rows, starts = [], []
    for number, (context, ending) in enumerate(pairs):
        whole = (context + ending)[-(engine.context) :]
        rows.append(TokenRow(np.array(whole, np.int32), {}, str(number), "lm_eval", str(number)))
        starts.append(max(len(whole) - len(ending), 1))
    scores = engine.score(rows)
    sums = [float(s[at:].sum(dtype="float64")) for s, at in zip(scores, starts, strict=True)]
    greedy = _Greedy(engine, [(row.ids.tolist(), at) for row, at in zip(rows, starts, strict=True)])
    return [(one, _IsGreedy(greedy, number)) for number, one in enumerate(sums)]  # type: ignore[misc]


class _Greedy:
    """Whether greedy decoding gives the ids from a position on, for many rows."""

    def __init__(self, engine: Engine, rows: Sequence[tuple[list[int], int]]) -> None:
        self._engine, self._rows = engine, rows

    @cached_property
    def found(self) -> list[bool]:
        """One a row; by length of the ending, since an answer is as long as what it is compared with."""
        found = [False] * len(self._rows)
        for length in sorted({len(ids) - at for ids, at in self._rows}):
            numbers = [n for n, (ids, at) in enumerate(self._rows) if len(ids) - at == length]
            prompts = [self._rows[n][0][: self._rows[n][1]] for n in numbers]
            answers = self._engine.generate(prompts, Sampling(length, stop_ids=()))
            for n, answer in zip(numbers, answers, strict=True):
                ids, at = self._rows[n]
                found[n] = list(answer.ids) == ids[at:]
        return found


class _IsGreedy:
    """One of them, as a truth value that is worked out when it is looked at."""

    def __init__(self, greedy: _Greedy, number: int) -> None:
        self._greedy, self._number = greedy, number

    def __bool__(self) -> bool:
        return self._greedy.found[self._number]

    def __int__(self) -> int:
        return int(bool(self))


def _result(suite: Suite, task: str, found: Mapping[str, Any]) -> SuiteResult:
    """A task's figures as a suite: its first metric as the score of each example, the others beside it."""
    figures = {
        key.split(",")[0]: float(value)
        for key, value in found["results"][task].items()
        if isinstance(value, int | float) and "_stderr" not in key and key not in SKIPPED
    }
    main = next((name for name in ("acc", "exact_match") if name in figures), next(iter(figures), ""))
    records = tuple(_record(one, main) for one in found["samples"][task])
    told = found["results"][task]
    errors = {key.split("_stderr")[0]: value for key, value in told.items() if "_stderr" in key}
    own = {
        name: (value, float(errors[name]) if isinstance(errors.get(name), int | float) else math.nan)
        for name, value in figures.items()
    }
    seconds = float(found.get("total_evaluation_time_seconds") or 0.0)
    return SuiteResult(f"{suite.name}/{task}", "lm_eval", suite.group, records, seconds, (), own)


def _record(sample: Mapping[str, Any], main: str) -> Record:
    score = sample.get(main)
    flat = sample.get("filtered_resps") or [""]
    return Record(
        str(sample["doc_id"]),
        score=float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None,
        reason="" if isinstance(score, int | float) else f"`{main}` is a figure of the whole task",
        prompt=str(sample["arguments"][0][0]) if sample.get("arguments") else "",
        answer=str(flat[0]),
        reference=str(sample.get("target", "")),
    )


def _harness() -> tuple[Any, Any]:
    try:
        from lm_eval import evaluator, tasks
    except ImportError:
        raise InputError("`kind: lm_eval` needs lm-eval", fix="pip install 'bloomery[eval]'") from None
    return evaluator, tasks
