"""Faults tried, survived and lost: kill -9 at random moments, single flipped bits. Prints one line a kind.

    PYTHONPATH=tests/support:tests/faults .venv/bin/python bench/faults.py [--kills 50] [--flips 200]

A kill counts only where the training was under way: a step of that process was in the log and it was alive. Every
killed run is finished and must end in weights bit-identical to the uninterrupted run's; a flipped bit, anywhere in a
checkpoint or a token store, must be refused.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from test_resume import run, same

from bloomery.core.errors import BloomeryError
from bloomery.core.events import read_events
from bloomery.data.config import SourceSpec
from bloomery.data.render import Renderer
from bloomery.data.store import TokenStore, build_store
from bloomery.train.checkpoint import Checkpoint

STEPS = 60
KILLS_A_RUN = 3
PATIENCE = 120.0
"""Seconds after which a run that logs nothing counts as hanging."""
_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(["test_resume", "transformers.models.llama.modeling_llama"])


def kills(count: int, seed: int) -> tuple[int, int, int]:
    """(kills of a training under way, runs finished and compared, those bit-identical to the uninterrupted one).

    Every run is killed at up to `KILLS_A_RUN` random moments after a step of its own was logged, then finished and
    compared. A child that ended before its moment came is no kill.
    """
    moments, killed, compared, identical = random.Random(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as place:
        whole = run(Path(place) / "whole", steps=STEPS)
        times = [event["time"] for event in read_events(Path(place) / "whole" / "events.jsonl", "step")]
        pace = (times[-1] - times[0]) / (len(times) - 1)
        while killed < count:
            folder = Path(place) / f"killed-{compared}"
            for _ in range(min(count - killed, KILLS_A_RUN)):
                if not _killed(folder, moments.random(), pace):
                    break
                killed += 1
            identical += same(whole, run(folder, steps=STEPS))
            compared += 1
            shutil.rmtree(folder)
    return killed, compared, identical


def _killed(folder: Path, part: float, pace: float) -> bool:
    """Whether the kill, `part` of the remaining time after a step of that process, met a run with steps left to do."""
    before = len(_steps(folder))
    child = _SERVER.Process(target=run, args=(folder, STEPS))
    child.start()
    began = time.monotonic()
    while child.is_alive() and len(_steps(folder)) == before:
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"{folder} logs no step")
        time.sleep(0.002)
    if len(logged := _steps(folder)) > before:
        time.sleep(part * (STEPS - logged[-1]) * pace)
    child.kill()
    child.join()
    logged = _steps(folder)
    return child.exitcode == -signal.SIGKILL and len(logged) > before and logged[-1] < STEPS


def _steps(folder: Path) -> list[int]:
    """Numbers of the steps logged so far."""
    path = folder / "events.jsonl"
    return [event["step"] for event in read_events(path, "step")] if path.is_file() else []


def flips(count: int, seed: int) -> tuple[int, int]:
    """(bits flipped, flips refused), half of them in checkpoints and half in token stores."""
    chosen, refused = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as place:
        run(Path(place) / "run", steps=4)
        checkpoint = next((Path(place) / "run" / "checkpoints").glob("step-*"))
        store = _store(Path(place))
        for number in range(count):
            folder = (checkpoint, store)[number % 2]
            broken = Path(place) / "broken"
            shutil.copytree(folder, broken)
            files = sorted(p for p in broken.iterdir() if p.stat().st_size)
            sizes = [p.stat().st_size for p in files]
            path = chosen.choices(files, weights=sizes if number % 4 else None)[0]
            data = bytearray(path.read_bytes())
            data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
            path.write_bytes(bytes(data))
            refused += _refused(broken, number)
            shutil.rmtree(broken)
    return count, refused


def _store(place: Path) -> Path:
    rows = place / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {i} " * 20}) + "\n" for i in range(300)))
    renderer = Renderer(Path(__file__).parents[1] / "families" / "ember" / "tokenizer")
    return build_store("rows", SourceSpec(path=str(rows)), place, renderer, place / "cache", workers=1).path


def _refused(folder: Path, number: int) -> bool:
    try:
        Checkpoint(folder) if number % 2 == 0 else TokenStore(folder)
    except BloomeryError:
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    killed, compared, identical = kills(options.kills, options.seed)
    print(f"kill -9 during training: {killed} kills in {compared} runs, {identical} of {compared} ended bit-identical")
    tried, refused = flips(options.flips, options.seed)
    print(f"single flipped bits: {tried} tried, {refused} refused")


if __name__ == "__main__":
    main()
