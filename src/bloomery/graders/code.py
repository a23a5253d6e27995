"""Programs that must pass tests, run where they can do no harm."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bloomery.core.errors import InputError
from bloomery.core.sandbox_level import Level, Limits, check_level, require
from bloomery.core.sandbox_program import run_program
from bloomery.graders import code_tests
from bloomery.graders.payload import Metric, Sample, Score

MOST_AT_ONCE = 16
"""Programs at a time, one for each core: each may use `memory`."""
BLOCK = re.compile(r"^```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Code:
    """1 where the answer's Python program passes the row's tests.

    The row's metadata holds `cases` ([{input, output}]: the program is run with each input, and what it prints is
    compared outside the sandbox, white space at the ends of lines aside), or `tests` (Python statements, one text or a
    list, run after the program in its own process: quick, but a program that looks for the test's inside can fool
    them). Of several ``` blocks the last one counts; without one, the whole answer.
    """

    name: str = "code"
    level: Level = "isolated"
    trusted: bool = False
    """Needed for `level: process`, where what the model wrote runs with your rights."""
    score: Literal["all", "share"] = "all"
    """All tests or nothing; or the share that passes."""
    seconds: float = 10.0
    """For one case, or for all of a row's `tests`."""
    memory: int = 1 << 30
    verified: bool = True

    def __post_init__(self) -> None:
        check_level(self.level, self.trusted, f"grader `{self.name}` runs code that a model wrote")
        if self.level == "trusted":
            raise InputError("`level: trusted` would run a model's code in this process", fix="use `level: isolated`")
        if self.score not in ("all", "share"):
            raise InputError(f"`score: {self.score}` is not all or share", fix="change `score`")

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The scores, with the share passed as a metric; unscorable where the row has no tests that can be run.

        Raises `InputError` when the machine does not offer the level.
        """
        require(self.level)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_AT_ONCE)) as pool:
            return list(pool.map(self._one, samples))

    def _one(self, sample: Sample) -> Score:
        program = program_of(sample.answer)
        cases, tests = sample.metadata.get("cases"), sample.metadata.get("tests")
        try:
            if cases is not None:
                passed, count, why = self._cases(program, _cases(cases))
            else:
                passed, count, why = self._tests(program, _tests(tests))
        except (ValueError, OSError) as error:
            if isinstance(error, InputError):
                raise
            return Score(sample.id, None, reason=str(error))
        share = passed / count
        value = share if self.score == "share" else float(passed == count)
        return Score(sample.id, value, (Metric("passed", share),), reason=why)

    def _cases(self, program: str, cases: Sequence[tuple[str, str]]) -> tuple[int, int, str]:
        passed, why = 0, ""
        for given, wanted in cases:
            ran = run_program({"answer.py": program}, "answer.py", given, self._limits(), self.level)
            if ran.broken:
                raise OSError("the sandbox could not be built")
            good = not ran.problem and _lines(ran.output) == _lines(wanted)
            passed += good
            if not good and not why:
                why = f"with input {given!r:.60} it {ran.problem or f'printed {ran.output!r:.60}'}"
                if self.score == "all":
                    break
        return passed, len(cases), why

    def _tests(self, program: str, tests: Sequence[str]) -> tuple[int, int, str]:
        """A word made for this run tells our count from what the program prints, or from nothing when it just exits."""
        word = secrets.token_hex(16)
        files = {
            "answer.py": program,
            "tests.json": json.dumps(list(tests)),
            **{f"test_{at}.py": test for at, test in enumerate(tests)},
            "main.py": Path(code_tests.__file__).read_text(),
        }
        ran = run_program(files, "main.py", word, self._limits(), self.level)
        if ran.broken:
            raise OSError("the sandbox could not be built")
        told = re.findall(rf"^{word} (\d+) (.*)$", ran.output, re.MULTILINE)
        if len(told) != 1:
            return 0, len(tests), f"it {ran.problem or 'ended before the tests'}"
        return min(int(told[0][0]), len(tests)), len(tests), str(told[0][1])[:200]

    def _limits(self) -> Limits:
        return Limits(self.seconds, self.memory)


def program_of(answer: str) -> str:
    """The last ``` block of an answer, or all of it."""
    blocks = BLOCK.findall(answer)
    return str(blocks[-1]) if blocks else answer


def _cases(listed: Any) -> list[tuple[str, str]]:
    whole = isinstance(listed, list) and listed and all(isinstance(case, Mapping) for case in listed)
    if not whole or not all(isinstance(case.get(key, ""), str) for case in listed for key in ("input", "output")):
        raise ValueError("the row's `cases` are no list of {input, output} texts")
    if not all("output" in case for case in listed):
        raise ValueError("a case of the row has no `output`")
    return [(case.get("input", ""), case["output"]) for case in listed]


def _tests(listed: Any) -> list[str]:
    tests = [listed] if isinstance(listed, str) else listed
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) and test.strip() for test in tests):
        raise ValueError("the row's metadata has neither `cases` nor `tests`")
    for test in tests:
        try:
            compile(test, "tests", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"a test of the row is no Python: {error}") from None
    return tests


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
