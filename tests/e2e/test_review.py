"""From rows to a calibrated classifier, a queue, people's answers, and the next model, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import Told, bloomery

from bloomery.core.errors import InputError
from bloomery.studies.active import run_loop
from bloomery.studies.active_file import read_loop

SPEC = 'prompt: "{text} {ask}"\nquestions: {wet: "wet", late: {ask: "late", costs: {yes: 5}}}\nprior: none\n'
LOOP = """\
recipe: answers.yaml
classifier: weather.yaml
pool: pool.jsonl
test: pool.jsonl
rounds: 1
labels: 20
caught: {wet: 0.01}
precision: 0.1
"""


def review(here: Path, *arguments: str) -> Told:
    """A verb of `bloomery review`."""
    return bloomery("review", *arguments, within=here)


@pytest.fixture
def rows(here: Path) -> Path:
    """Sixty comments with answers, in the folder of the tiny recipe."""
    (here / "weather.yaml").write_text(SPEC)
    recipe = (here / "recipe.yaml").read_text().replace("eval: heldout.jsonl\n", "objective: sft\n")
    (here / "answers.yaml").write_text(recipe.replace("share: 50%", "share: 90%").replace("3k tokens", "2 epochs"))
    lines = [
        {
            "id": f"r{k}",
            "text": f"{'rain falls' if k % 3 else 'sun'} on hill {k}",
            "labels": {"wet": k % 3 > 0, "late": k % 5 == 0},
        }
        for k in range(60)
    ]
    path = here / "pool.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_model_is_fitted_measured_and_asks_people(here: Path, rows: Path) -> None:
    assert review(here, "fit", "weather.yaml", "tiny", "--rows", "pool.jsonl").status == 0
    told = review(here, "report", "weather.yaml", "tiny", "--rows", "pool.jsonl", "--json")
    assert set(json.loads(told.out)["questions"]) == {"wet", "late"}
    scored = review(here, "score", "weather.yaml", "tiny", "--rows", "pool.jsonl", "--out", "scores.jsonl")
    assert scored.status == 0
    first = json.loads((here / "scores.jsonl").read_text().splitlines()[0])
    assert sum(first["questions"]["wet"]["p"].values()) == pytest.approx(1)
    assert review(here, "add", "q.sqlite", "weather.yaml", "tiny", "--rows", "pool.jsonl").status == 0
    item = json.loads(review(here, "next", "q.sqlite", "--person", "ann").out)
    assert review(here, "label", "q.sqlite", str(item["fence"]), "yes").out.strip() == "decided"
    assert review(here, "label", "q.sqlite", "999", "yes").status == 2
    assert json.loads(review(here, "stats", "q.sqlite").out)["votes"] == 1
    assert review(here, "audit", "q.sqlite").out.startswith("4 acts, head ")
    done = review(here, "export", "q.sqlite", "weather.yaml", "--as", "sft", "--out", "decided.jsonl")
    assert done.status == 0
    assert json.loads((here / "decided.jsonl").read_text())["response"] == "yes"


def test_a_loop_stops_where_people_are_needed_and_goes_on(
    here: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    (here / "loop.yaml").write_text(LOOP + "oracle: true\n")
    with pytest.MonkeyPatch.context() as stopping:
        stopping.setattr("bloomery.studies.active.open_classifier", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_loop(read_loop(here / "loop.yaml"))
    trained = (here / "runs" / "loop-00" / "events.jsonl").read_bytes()
    found = run_loop(read_loop(here / "loop.yaml"))
    assert (here / "runs" / "loop-00" / "events.jsonl").read_bytes() == trained
    assert (here / "runs" / "loop.loop" / "report.html").read_text().count("<circle") == 2 * 3
    assert [one["labels"] for one in found.rounds] == [20, 40]
    assert set(found.caught) == {"wet"} and found.waiting == 0
    assert run_loop(read_loop(here / "loop.yaml")).to_json() == found.to_json()
    (here / "loop.yaml").write_text(LOOP + "oracle: true\nseed: 1\n")
    with pytest.raises(InputError, match="asked for something else"):
        run_loop(read_loop(here / "loop.yaml"))
    (here / "people.yaml").write_text(LOOP)
    waiting = run_loop(read_loop(here / "people.yaml"))
    assert waiting.waiting == 20 and not waiting.rounds
    queue = "runs/people.loop/queue.sqlite"
    assert f"bloomery review work {queue} --person NAME" in str(waiting) and (here / queue).is_file()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
