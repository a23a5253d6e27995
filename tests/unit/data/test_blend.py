"""The blend: exact shares, each source in its own order, positions that can be saved."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from tokens import Lengths

from bloomery.core.errors import InputError
from bloomery.core.rows import Segment
from bloomery.data.blend import Blend, check_supply

TABLES = {"mine": Lengths.of(*range(3, 40)), "web": Lengths.of(*[30] * 50), "code": Lengths.of(*[5, 50] * 30)}
SHARES = {"mine": 0.3, "web": 0.5, "code": 0.2}


def blend(seed: int = 1, cap: float = 1e9) -> Blend:
    return Blend(TABLES, [Segment(0, SHARES)], 200, seed, cap)


def test_an_epoch_reads_every_row_once_and_the_next_in_another_order() -> None:
    one = Blend({"web": TABLES["web"]}, [Segment(0, {"web": 1.0})], 30, 1)
    epochs = [[ref for step in range(n * 50, n * 50 + 50) for ref in one.step(step)] for n in range(2)]
    assert [sorted(ref.index for ref in rows) for rows in epochs] == [list(range(50))] * 2
    assert [ref.index for ref in epochs[0]] != [ref.index for ref in epochs[1]]
    assert [{ref.epoch for ref in rows} for rows in epochs] == [{0}, {1}]


def test_the_seed_decides_the_order() -> None:
    assert blend(1).step(0) == blend(1).step(0) != blend(2).step(0)


def test_a_step_never_passes_its_tokens_but_has_at_least_one_row() -> None:
    long = {"long": Lengths.of(500, 20, 20, 500)}
    steps = [Blend(long, [Segment(0, {"long": 1.0})], 60, 0, 9).step(step) for step in range(3)]
    for refs in steps:
        tokens = sum(int(long["long"].lengths[ref.index]) for ref in refs)
        assert len(refs) == 1 or tokens <= 60


def test_steps_can_be_asked_for_in_any_order() -> None:
    straight = [blend().step(k) for k in range(1)]
    whole = blend()
    straight = [whole.step(k) for k in range(400)]
    jumpy = blend()
    for k in (7, 3, 399, 0, 120, 119, 398):
        assert jumpy.step(k) == straight[k], k


def test_a_saved_state_goes_on_as_if_never_stopped_and_survives_json() -> None:
    whole = blend()
    straight = [whole.step(k) for k in range(60)]
    first = blend()
    for k in range(25):
        first.step(k)
    for step in (25, 20):
        again = blend()
        again.restore(json.loads(json.dumps(first.state(step))))
        assert [again.step(k) for k in range(step, 60)] == straight[step:]


def test_a_dropped_position_is_noticed() -> None:
    first = blend()
    for k in range(25):
        first.step(k)
    broken = first.state() | {"cursors": blend().state()["cursors"]}
    again = blend()
    again.restore(broken)
    assert again.step(25) != first.step(25)


def test_a_state_of_other_data_is_refused() -> None:
    state = blend().state()
    with pytest.raises(InputError, match="saved with `seed: 1`, now it is 2"):
        blend(2).restore(state)
    fewer = Blend({**TABLES, "web": Lengths.of(30, 30)}, [Segment(0, SHARES)], 200, 1)
    with pytest.raises(InputError, match="`web` had 50 rows and 1,500 tokens when this run was saved, now it has 2"):
        fewer.restore(state)
    other = Blend({"web": TABLES["web"]}, [Segment(0, {"web": 1.0})], 200, 1)
    with pytest.raises(InputError, match="has a share but no rows"):
        other.restore(state)


def test_appending_a_segment_changes_later_steps_only() -> None:
    plain, changed = blend(), blend()
    changed.append(Segment(10, {"mine": 1.0}))
    assert [plain.step(k) for k in range(10)] == [changed.step(k) for k in range(10)]
    assert {ref.source for ref in changed.step(10)} == {"mine"}
    with pytest.raises(InputError, match="would change steps already taken"):
        changed.append(Segment(10, SHARES))
    with pytest.raises(InputError, match="follows one from step 10"):
        Blend(TABLES, [*changed.segments, Segment(10, SHARES)], 200, 1)


def test_a_share_of_zero_gives_nothing() -> None:
    only = Blend(TABLES, [Segment(0, {"mine": 0.0, "web": 1.0})], 100, 1)
    assert {ref.source for k in range(10) for ref in only.step(k)} == {"web"}


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ({"mine": 0.5, "web": 0.4}, "sum to 90.0%, not 100 %"),
        ({"mne": 1.0}, r"`mne` has a share but no rows \(did you mean `mine`\?\)"),
        ({"mine": 1.5, "web": -0.5}, "the share of `mine` is 1.5, outside 0 to 1"),
    ],
)
def test_shares_that_make_no_sense_are_refused(share: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Blend(TABLES, [Segment(0, share)], 100, 1)
    with pytest.raises(InputError, match="must start at step 0"):
        Blend(TABLES, [Segment(5, SHARES)], 100, 1)


def test_a_share_that_needs_more_than_the_cap_is_refused_before_training() -> None:
    assert check_supply(TABLES, [Segment(0, SHARES)], 10, 200)["mine"] == pytest.approx(600 / 777)
    with pytest.raises(
        InputError, match=r"`mine` has 777 tokens; its share asks for 6,000, that is 7.7 epochs"
    ) as error:
        check_supply(TABLES, [Segment(0, SHARES)], 100, 200)
    assert "lower its share to 51.8% of what it is" in str(error.value)
    with pytest.raises(InputError, match="`web` has 1,500"):
        check_supply(TABLES, [Segment(0, {"mine": 1.0}), Segment(5, {"web": 1.0})], 50, 200)


def test_a_source_is_never_repeated_beyond_the_cap() -> None:
    capped = blend(cap=2)
    with pytest.raises(InputError, match="has been read 2 times before step") as error:
        for k in range(1000):
            capped.step(k)
    assert "repetition_cap" in str(error.value)
    most = {name: 2 + 200 / table.lengths.sum() + 0.2 for name, table in TABLES.items()}
    assert all(read < most[name] for name, read in capped.epochs().items())


def test_epochs_that_end_inside_a_step_are_not_beyond_a_cap_of_as_many() -> None:
    share = {"mine": 1.0}
    table = {"mine": TABLES["mine"]}
    supply = int(table["mine"].lengths.sum())
    steps = math.ceil(4 * supply / 200)
    assert steps * 200 > 4 * supply
    assert check_supply(table, [Segment(0, share)], steps, 200, 4.0)["mine"] > 4
    whole = Blend(table, [Segment(0, share)], 200, 7, 4.0)
    assert all(whole.step(k) for k in range(steps))
    with pytest.raises(InputError, match="above the repetition cap of 4"):
        check_supply(table, [Segment(0, share)], steps + 2, 200, 4.0)
    with pytest.raises(InputError, match="its share asks for 200"):  # no step may repeat a source by itself
        check_supply({"mine": Lengths(np.full(3, 10, np.int64))}, [Segment(0, share)], 1, 200, 4.0)


def test_two_hundred_thousand_rows_take_seconds() -> None:
    tables = {f"s{i}": Lengths(np.full(60_000, 100 + i, np.int64)) for i in range(5)}
    whole = Blend(tables, [Segment(0, dict.fromkeys(tables, 0.2))], 65_536, 1)
    began = time.process_time()
    rows = sum(len(whole.step(k)) for k in range(310))
    assert rows > 195_000
    assert time.process_time() - began < 10
