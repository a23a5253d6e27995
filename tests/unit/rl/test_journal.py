"""The journal: one worker for an attempt, one seal, one score, trained once; and all of it there after a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bloomery.core.errors import DamagedError, InputError
from bloomery.rl.journal import Journal
from bloomery.rl.leases import Claim, Task, Terms
from bloomery.rl.scores import Failure, Reported
from bloomery.rl.tables import Sent
from bloomery.rl.turns import Turn
from bloomery.serve.errors import Refusal

TERMS = Terms(lease=10, call=50, deadline=1000, reward=100, turns=3, tokens=100)
USER: dict[str, Any] = {"role": "user", "content": "Hello"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    made = Journal(tmp_path / "j.sqlite", TERMS, {"style": 0.5}, clock)
    made.put([Task(f"r{number}", "g", {"q": number}) for number in range(2)]).result()
    yield made
    made.close()


def turn(number: int = 0, parent: int | None = None) -> Turn:
    reply = {"role": "assistant", "content": "Hi"}
    logp = np.array([-0.25, -1.5], np.float32)
    return Turn(number, parent, "clean", (USER,), "", (5, 6), (7, 8), logp, 3, "stop", reply)


def sent(name: str = "c0") -> Sent:
    return Sent(name, f"digest of {name}", None, b"{}", "application/json")


def started(journal: Journal) -> Claim:
    [claim] = journal.claim("w").result()
    journal.begin(claim.attempt.id).result()
    journal.record(claim.attempt.id, turn(), sent()).result()
    return claim


def train(journal: Journal, rollout: str) -> tuple[str, str | None]:
    told = journal.status(rollout).result()
    return told["train_status"], told["reason"]


def refusal(future: Any) -> tuple[int, str | None]:
    with pytest.raises(Refusal) as told:
        future.result()
    return told.value.status, told.value.code


def test_claims_are_in_order_and_keys_are_secret(journal: Journal, tmp_path: Path) -> None:
    one, other = journal.claim("w", 5).result()
    assert (one.attempt.rollout_id, one.row, other.attempt.rollout_id) == ("r0", {"q": 0}, "r1")
    assert journal.claim("w").result() == [] and journal.put([Task("r0", "g", {})]).result() == 0
    found = journal.find(one.key).result()
    assert found is not None and found.id == one.attempt.id and journal.find("wrong").result() is None
    journal.close()
    assert one.key.encode() not in (tmp_path / "j.sqlite").read_bytes()


def test_the_window_bounds_what_grows_stale(journal: Journal) -> None:
    claim = started(journal)
    assert refusal(journal.claim("w", 5, window=1)) == (429, "window_full")
    journal.seal(claim.attempt.id, "ready").result()
    journal.reward(claim.attempt.id, Reported(1.0)).result()
    assert refusal(journal.claim("w", 5, window=1)) == (429, "window_full")
    journal.batch(["r0"], 1).result()
    assert len(journal.claim("w", 5, window=1).result()) == 1


def test_turns_come_back_exactly(journal: Journal) -> None:
    claim = started(journal)
    [found] = journal.tree(claim.attempt.id).result().turns
    wanted = turn()
    assert np.array_equal(found.logp, wanted.logp) and found.logp.dtype == np.float32
    assert (found.bridge, found.sampled, found.added, found.reply) == ((5, 6), (7, 8), (USER,), wanted.reply)
    assert journal.sent(claim.attempt.id).result() == [sent()]


def test_a_worker_that_falls_silent_is_fenced_off_and_the_rollout_starts_afresh(journal: Journal, clock: Clock) -> None:
    claim = started(journal)
    clock.now += 9
    journal.heartbeat(claim.attempt.id).result()
    clock.now += 9
    journal.sweep().result()
    assert journal.status("r0").result()["state"] == "running"
    clock.now += 2
    journal.sweep().result()
    for late in (
        journal.begin(claim.attempt.id), journal.record(claim.attempt.id, turn(1, 0), sent("c1")),
        journal.heartbeat(claim.attempt.id), journal.seal(claim.attempt.id, "ready"),
        journal.reward(claim.attempt.id, Reported(1.0)),
    ):  # fmt: skip
        assert refusal(late) == (410, "lease_expired")
    claims = {one.attempt.rollout_id: one for one in journal.claim("v", 5).result()}
    assert claims["r0"].attempt.number == 2 and claims["r0"].key != claim.key
    assert journal.tree(claims["r0"].attempt.id).result().turns == []
    clock.now += 11
    journal.sweep().result()
    assert train(journal, "r0") == ("dropped", "no worker completed it in 2 attempts")


def test_a_call_keeps_the_lease_while_it_is_answered(journal: Journal, clock: Clock) -> None:
    claim = started(journal)
    journal.begin(claim.attempt.id).result()
    clock.now += 49
    journal.sweep().result()
    journal.failed(claim.attempt.id).result()
    clock.now += 11
    journal.sweep().result()
    assert refusal(journal.begin(claim.attempt.id))[0] == 410


def test_a_rollout_that_never_ends_is_cut_at_its_deadline(journal: Journal, clock: Clock) -> None:
    claim = started(journal)
    for _ in range(101):
        clock.now += 9.95
        if clock.now < 2000:
            journal.heartbeat(claim.attempt.id).result()
    journal.sweep().result()
    assert train(journal, "r0") == ("dropped", "it was not completed before its deadline")
    assert [one.attempt.rollout_id for one in journal.claim("v", 5).result()] == ["r1"]


def test_the_first_seal_wins_and_saying_it_again_is_no_error(journal: Journal) -> None:
    claim = started(journal)
    journal.seal(claim.attempt.id, "ready").result()
    journal.seal(claim.attempt.id, "ready").result()
    assert refusal(journal.seal(claim.attempt.id, "failed")) == (409, "sealed")
    assert refusal(journal.begin(claim.attempt.id)) == (409, "sealed")
    assert refusal(journal.record(claim.attempt.id, turn(1, 0), sent("c1"))) == (409, "sealed")


@pytest.mark.parametrize("first", ["reward", "seal"])
def test_a_reward_may_come_before_or_after_the_seal(journal: Journal, first: str) -> None:
    claim = started(journal)
    acts = [
        lambda: journal.reward(claim.attempt.id, Reported(0.5)),
        lambda: journal.seal(claim.attempt.id, "ready"),
    ]
    for act in acts if first == "reward" else acts[::-1]:
        assert train(journal, "r0") == ("pending", None)
        act().result()
    assert journal.status("r0").result()["train_state"] == "scored"


def test_the_same_reward_twice_is_one_and_another_is_refused(journal: Journal) -> None:
    claim = started(journal)
    journal.reward(claim.attempt.id, Reported(0.5)).result()
    journal.reward(claim.attempt.id, Reported(0.5)).result()
    assert refusal(journal.reward(claim.attempt.id, Reported(0.6))) == (409, "reward_conflict")
    journal.reward(claim.attempt.id, Reported(0.6), supersedes=True).result()
    journal.seal(claim.attempt.id, "ready").result()
    assert journal.status("r0").result()["reward"] == 0.6
    journal.batch(["r0"], 1).result()
    journal.reward(claim.attempt.id, Reported(0.6)).result()
    assert refusal(journal.reward(claim.attempt.id, Reported(0.7), supersedes=True)) == (409, "too_late")
    assert journal.status("r0").result()["reward"] == 0.6


def test_rewards_of_turns_and_components_add_up(journal: Journal) -> None:
    claim = started(journal)
    journal.reward(claim.attempt.id, Reported(components={"right": 1.0, "style": 0.5})).result()
    assert refusal(journal.reward(claim.attempt.id, Reported(turns=(1.0, 2.0)))) == (400, "invalid_value")
    journal.reward(claim.attempt.id, Reported(turns=(0.25,))).result()
    journal.reward(claim.attempt.id, Reported(2.0, target=0)).result()
    journal.record(claim.attempt.id, turn(1, 0), sent("c1")).result()
    journal.seal(claim.attempt.id, "ready").result()
    told = journal.status("r0").result()
    assert told["reward"] == 1.25 + 0.25 + 2.0 and told["components"] == {"right": 1.0, "style": 0.5}


def test_a_reward_that_does_not_come_is_no_zero(journal: Journal, clock: Clock) -> None:
    claim = started(journal)
    journal.seal(claim.attempt.id, "ready").result()
    clock.now += 101
    journal.sweep().result()
    assert train(journal, "r0") == ("dropped", "no reward came before its deadline")
    assert refusal(journal.reward(claim.attempt.id, Reported(1.0))) == (410, "reward_deadline")


@pytest.mark.parametrize(
    ("failure", "attempts", "status"),
    [
        (Failure("infrastructure", True, "disk"), 2, "pending"),
        (Failure("infrastructure", False, "disk"), 1, "dropped"),
        (Failure("task", True, "no such file"), 1, "dropped"),
        (Failure("model", True, "gave up"), 1, "pending"),
    ],
)
def test_only_what_the_model_did_may_carry_a_reward(
    journal: Journal, failure: Failure, attempts: int, status: str
) -> None:
    claim = started(journal)
    journal.seal(claim.attempt.id, "failed", failure).result()
    journal.reward(claim.attempt.id, Reported(0.0)).result()
    told = journal.status("r0").result()
    assert (told["attempt"], told["train_status"]) == (attempts, status)
    assert (told["train_state"] == "scored") == (failure.kind == "model")


def test_a_rollout_in_which_nothing_was_sampled_is_left_out(journal: Journal) -> None:
    [claim] = journal.claim("w").result()
    journal.seal(claim.attempt.id, "ready").result()
    journal.reward(claim.attempt.id, Reported(1.0)).result()
    assert train(journal, "r0") == ("dropped", "nothing was sampled in it")


def test_turns_and_tokens_have_a_limit(journal: Journal) -> None:
    claim = started(journal)
    for number in (1, 2):
        journal.record(claim.attempt.id, turn(number, number - 1), sent(f"c{number}")).result()
    assert refusal(journal.begin(claim.attempt.id)) == (400, "limit_reached")


def test_a_group_is_settled_when_nothing_in_it_is_pending_and_is_trained_once(journal: Journal) -> None:
    claim = started(journal)
    journal.seal(claim.attempt.id, "ready").result()
    journal.reward(claim.attempt.id, Reported(1.0)).result()
    assert journal.settled().result() == {}
    journal.drop(["r1"], "a straggler").result()
    [one] = journal.settled().result()["g"]
    assert one.score is not None and (one.rollout_id, one.score.reward, one.row) == ("r0", 1.0, {"q": 0})
    with pytest.raises(InputError, match="it is dropped"):
        journal.batch(["r0", "r1"], 1).result()
    journal.batch(["r0"], 1).result()
    with pytest.raises(InputError, match="it is batched"):
        journal.batch(["r0"], 2).result()
    assert journal.settled().result() == {} and train(journal, "r0") == ("pending", None)
    journal.trained(1).result()
    assert train(journal, "r0") == ("used", None) and train(journal, "r1") == ("dropped", "a straggler")


def test_a_trainer_that_goes_on_from_a_checkpoint_trains_again_what_came_after_it_only(journal: Journal) -> None:
    for step in (1, 2):
        claim = started(journal)
        journal.seal(claim.attempt.id, "ready").result()
        journal.reward(claim.attempt.id, Reported(1.0)).result()
        journal.batch([claim.attempt.rollout_id], step).result()
    journal.rewind(1).result()
    assert [one.rollout_id for one in journal.settled().result()["g"]] == ["r1"]
    assert train(journal, "r0") == ("used", None)


def test_everything_is_there_after_a_restart_and_workers_get_time_to_return(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "j.sqlite"
    first = Journal(path, TERMS, clock=clock)
    first.put([Task("r0", "g", {})]).result()
    claim = started(first)
    first.close()
    clock.now += 5000
    second = Journal(path, TERMS, clock=clock)
    second.sweep().result()
    found = second.find(claim.key).result()
    assert found is not None and found.state == "running" and found.turns == 1
    second.record(found.id, turn(1, 0), sent("c1")).result()
    assert len(second.tree(found.id).result().turns) == 2
    second.close()


def test_the_sweep_runs_by_itself(tmp_path: Path) -> None:
    made = Journal(tmp_path / "j.sqlite", Terms(lease=0.1))
    made.put([Task("r0", "g", {})]).result()
    made.claim("w").result()
    made._writer._thread.join(1.5)
    assert made.status("r0").result()["attempt"] == 2
    made.close()


def test_a_change_that_fails_undoes_itself_alone(journal: Journal) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("delete from attempt")
        raise ValueError("no")

    gate = journal._writer.do(lambda db: [*db.execute("select 1")])  # so that both come into one commit
    failed, kept = journal._writer.do(half), journal.put([Task("r9", "g", {})])
    assert gate.result() and kept.result() == 1
    with pytest.raises(ValueError, match="no"):
        failed.result()
    assert len(journal.claim("w", 9).result()) == 3


def test_what_cannot_be_written_is_told_to_everyone_who_asked(journal: Journal) -> None:
    def broken(db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError):
        journal._writer.do(broken).result()
    assert len(journal.claim("w", 9).result()) == 2


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DamagedError, match="no journal"):
        Journal(path)
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("create table x (y)")
    with pytest.raises(DamagedError, match="another program"):
        Journal(tmp_path / "other.sqlite")
