"""What is said while a model is evaluated."""

from __future__ import annotations

import pytest

from bloomery.recipes.evaluating import Evaluating


def test_a_line_comes_every_ten_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], list[str]()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shows = Evaluating("start", 3, said.append)
    for suite, seconds, done in (("text", 9.0, 10), ("text", 10.5, 20), ("sums", 20.0, 1), ("sums", 21.0, 1200)):
        if suite != shows._suite:
            shows.begun(suite)
        now[0] = seconds
        shows.rows(done, 1500)
    assert said == [
        "evaluating start: suite 1 of 3, text: 20 of 1,500 rows",
        "evaluating start: suite 2 of 3, sums: 1,200 of 1,500 rows",
    ]
