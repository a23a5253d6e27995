"""Inspect's tasks on our engine, as a model provider; needs the `eval` extra.

A task's solvers and scorers are Python code that runs in this process, so a suite of it says `trusted: true`.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import threading
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Engine, Sampling
from bloomery.evals.prompts import Prompter
from bloomery.evals.results import Record, SuiteResult
from bloomery.evals.suites import Suite

LENGTH = 256
"""Tokens of an answer where the task does not say."""
TEMPERATURE = 0.0


def run_tasks(engine: Engine, prompter: Prompter, suite: Suite, seed: int = 0) -> list[SuiteResult]:
    """One result a task, called `suite/task`; a task is `file.py@name` or a registered name.

    Raises `InputError` for a suite that is not trusted, a task that is not there, or one that failed as a whole.
    """
    if not suite.trusted:
        message = f"the suite `{suite.name}` runs the Python code of Inspect's tasks, with your rights"
        raise InputError(message, fix="read it, then set `trusted: true`")
    inspect = _inspect()
    for task in suite.tasks:
        file = Path(task.split("@")[0])
        if file.suffix == ".py" and not file.is_file():
            raise InputError(f"the suite `{suite.name}` names {file}, which is no file", fix="change `tasks`")
    with tempfile.TemporaryDirectory() as folder:
        logs = inspect.eval(
            list(suite.tasks),
            model=provider(engine, prompter),
            limit=suite.limit,
            log_dir=folder,
            display="none",
            seed=seed,
            log_realtime=False,
        )
        return [_result(suite, log) for log in logs]


def provider(engine: Engine, prompter: Prompter) -> Any:
    """Our engine as an Inspect model. Calls answer one at a time, in threads of their own."""
    _inspect()
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ModelAPI,
        ModelOutput,
        ModelUsage,
        get_model,
        modelapi,
    )

    turn = threading.Lock()

    class EngineAPI(ModelAPI):  # type: ignore[misc,unused-ignore]
        """Renders the conversation as training does and asks the engine."""

        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:  # noqa: A002
            if tools:
                raise InputError("the task gives tools, which this provider does not pass on", fix="use another task")
            messages = [{"role": one.role, "content": one.text} for one in input]
            return await asyncio.to_thread(self._answer, messages, config)

        def _answer(self, messages: list[dict[str, str]], config: Any) -> Any:
            with turn:
                ids = prompter.prompt(messages)
                [found] = engine.generate([ids], _sampling(config))
            text = prompter.tokenizer.decode(found.body, skip_special_tokens=True)
            for end in config.stop_seqs or ():
                text = text.split(end, 1)[0]
            reason: Any = "stop" if found.finish_reason == "stop" else "max_tokens"
            choice = ChatCompletionChoice(message=ChatMessageAssistant(content=text), stop_reason=reason)
            sizes = {"input_tokens": len(ids), "output_tokens": len(found.ids)}
            usage = ModelUsage(**sizes, total_tokens=sum(sizes.values()))
            return ModelOutput(model=self.model_name, choices=[choice], usage=usage)

    modelapi("bloomery")(EngineAPI)
    return get_model("bloomery/engine", memoize=False)


def _sampling(config: Any) -> Sampling:
    """A request's options; what is left out is greedy, as everywhere in evaluation."""
    temperature = TEMPERATURE if config.temperature is None else float(config.temperature)
    top_p = 1.0 if config.top_p is None else float(config.top_p)
    return Sampling(config.max_tokens or LENGTH, temperature, top_p, config.seed or 0)


def _result(suite: Suite, log: Any) -> SuiteResult:
    if log.status != "success":
        said = log.error.message if log.error else log.status
        raise InputError(f"the task `{log.eval.task}` of the suite `{suite.name}` failed: {said}", fix="correct it")
    records = tuple(_record(one) for one in log.samples or ())
    own: dict[str, tuple[float, ...]] = {}
    for score in log.results.scores if log.results else ():
        figures = {name: metric.value for name, metric in score.metrics.items()}
        error = float(figures.pop("stderr", math.nan))
        own |= {f"{score.name} {name}": (float(value), error) for name, value in figures.items()}
    return SuiteResult(f"{suite.name}/{log.eval.task}", "inspect", suite.group, records, 0.0, (), own)


def _record(sample: Any) -> Record:
    """A sample with the first scorer's score: letters by Inspect's own table."""
    from inspect_ai.scorer import value_to_float

    found = next(iter((sample.scores or {}).values()), None)
    value = None if found is None or isinstance(found.value, dict | list) else float(value_to_float()(found.value))
    asked = sample.input if isinstance(sample.input, str) else "\n".join(one.text for one in sample.input)
    return Record(
        f"{sample.id}" + (f"/{sample.epoch}" if sample.epoch > 1 else ""),
        score=value,
        reason=(found.explanation or "") if found else "the task gave no score",
        tokens=sample.output.usage.output_tokens if sample.output.usage else 0,
        prompt=asked,
        answer=sample.output.completion,
        reference=str(sample.target),
    )


def _inspect() -> Any:
    try:
        import inspect_ai
    except ImportError:
        raise InputError("`kind: inspect` needs inspect-ai", fix="pip install 'bloomery[eval]'") from None
    return inspect_ai
