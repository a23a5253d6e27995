"""What a report says of a held budget: by which means it was held, or that it was not and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bloomery.core.events import EventLog
from bloomery.core.intervals import Interval
from bloomery.evals.gate import Gate, Status, judge
from bloomery.evals.held import Held, read_held
from bloomery.evals.hold_chart import hold_chart


def gate(status: Status) -> Gate:
    rise = {"within": 0.005, "broken": 0.05, "unproven": 0.01}[status]
    verdict = judge("general", Interval(rise, rise - 0.001, rise + 0.001), 0.01, 100)
    assert verdict.status == status
    return Gate(status, (verdict,))


def held(path: Path, looks: list[dict[str, Any]]) -> Held:
    log = EventLog(path / "events.jsonl")
    usual = {"rise": 0.02, "noise": 0.001, "kl": 0.1, "allowed": 0.005, "budget": 0.01, "rate": 1.0, "did": "kept"}
    usual["capped"] = []
    for look in looks:
        one = {**usual, "bounds": [0.01, 0.95], "start": look["step"] + 3, **look}
        log.write("hold", **one, share={"web": one["replay"], "own": 1 - one["replay"]}, sources={})
    found = read_held(path / "events.jsonl")
    assert found is not None
    return found


FAILED = [
    {"step": 10, "replay_before": 0.5, "replay": 0.95, "did": "more replay"},
    {"step": 20, "replay_before": 0.95, "replay": 0.95, "rate": 0.3, "did": "lower rate"},
    {"step": 30, "replay_before": 0.95, "replay": 0.95, "rate": 0.3, "did": "end", "start": None},
]


def test_what_could_not_be_held_is_said_with_its_reason(tmp_path: Path) -> None:
    said = held(tmp_path, FAILED).said(gate("broken"))
    assert said == (
        "The budget could not be held: replay was at its bound of 95\u202f% from step 13 and the rate at 0.3 ×."
    )


def test_a_bound_that_the_repetition_cap_set_is_named_and_what_came_too_late_to_matter_is_not(tmp_path: Path) -> None:
    capped = {"bounds": [0.01, 0.4], "capped": ["web"]}
    looks = [
        {"step": 10, "replay_before": 0.3, "replay": 0.4, **capped},
        {"step": 20, "replay_before": 0.4, "replay": 0.4, **capped},
        {
            "step": 30,
            "replay_before": 0.4,
            "replay": 0.4,
            "start": None,
            "bounds": [0.01, 0.2],
            "capped": ["web", "own"],
        },
    ]
    said = held(tmp_path, looks).said(gate("broken"))
    assert said.endswith("bound of 40\u202f% from step 13: `data.repetition_cap` leaves no more of `web`.")


def test_a_rise_that_came_too_late_is_said(tmp_path: Path) -> None:
    looks = [
        {"step": 10, "replay_before": 0.5, "replay": 0.5, "rise": 0.001},
        {"step": 20, "replay_before": 0.5, "replay": 0.8},
        {"step": 30, "replay_before": 0.8, "replay": 0.8, "start": None},
    ]
    said = held(tmp_path, looks).said(gate("broken"))
    assert said.endswith("the rise was beyond what was allowed since step 10, with replay at 80\u202f% at the end.")


@pytest.mark.parametrize("status", ["within", "unproven"])
def test_what_was_held_says_by_which_means(tmp_path: Path, status: Status) -> None:
    found = held(tmp_path, FAILED)
    assert found.realised == pytest.approx((13 * 0.5 + 17 * 0.95) / 30)
    assert found.said(gate(status)) == (
        "Steered by replay between 50\u202f% and 95\u202f% of the tokens and a rate down to 0.3 × the schedule's; "
        "the domain took 24\u202f%, 50\u202f% was asked for."
    )


def test_a_resumed_runs_last_word_counts_and_segments_follow(tmp_path: Path) -> None:
    found = held(tmp_path, [*FAILED[:2], *FAILED])
    assert [look.step for look in found.looks] == [10, 20, 30]
    assert [(part.start, part.share["web"]) for part in found.segments()] == [(13, 0.95), (23, 0.95)]
    drawn = str(hold_chart(found))
    assert drawn.count("<circle") == 3 and "1.00% allowed" in drawn


def test_a_run_that_held_nothing_has_no_such_section(tmp_path: Path) -> None:
    EventLog(tmp_path / "events.jsonl").write("step", step=1, loss=2.0)
    assert read_held(tmp_path / "events.jsonl") is None
