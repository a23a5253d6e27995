"""Tokenizing and blending against `datasets.map` and `interleave_datasets`, side by side and interleaved.

    python bench/data.py [--peer PYTHON] [--rounds 3] [--megabytes 24]

Both read the same JSON lines with the same tokenizer, from nothing to the last token of one pass over a
blend of two sources; each measurement is a process of its own with an empty cache. `datasets` is not a
dependency of Bloomery: it is imported only in the peer's process, which may be another interpreter. The
peer runs twice, with one process (its default; its tokenizer still uses all cores) and with one a core.
CPU seconds include starting Python and importing; they tell the two apart where other work shares the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / "families/ember/tokenizer"
SHARES = {"documentation": 0.7, "skills": 0.3}
BATCH_TOKENS = 8192


def main() -> None:
    """Write the input, run every contestant in turn for some rounds, print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peer", default=sys.executable, help="interpreter that has `datasets`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=24.0)
    parser.add_argument("--run", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        found = ours(options.folder) if options.run == "ours" else peer(options.folder, options.processes)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = write_input(Path(folder), options.megabytes)
        print(f"{rows:,} rows, {options.megabytes:g} MB, {os.cpu_count()} cores, {options.rounds} rounds\n")
        report(measure(options, Path(folder)))


def write_input(folder: Path, megabytes: float) -> int:
    """Two JSON-lines files, 70 % documentation and 30 % skills by bytes; gives the number of rows."""
    rows = 0
    for name, share in SHARES.items():
        room = int(megabytes * 1e6 * share)
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for row in _texts(name):
                room -= file.write(json.dumps({"id": row["id"], "text": row["text"]}) + "\n")
                rows += 1
                if room <= 0:
                    break
    return rows


def _texts(name: str) -> Iterator[dict[str, Any]]:
    from bloomery.data.builtin import generate

    for row in generate(name, {"count": 200_000} if name == "skills" else {}):
        yield row if "text" in row else {"id": row["id"], "text": f"{row['prompt']}\n{row['response']}"}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Seconds and tokens of each contestant, one list entry a round."""
    cores = os.cpu_count() or 1
    contestants = {
        "bloomery": [sys.executable, __file__, "--run", "ours"],
        "datasets": [options.peer, __file__, "--run", "peer"],
        f"datasets, num_proc={cores}": [options.peer, __file__, "--run", "peer", "--processes", str(cores)],
    }
    if subprocess.run([options.peer, "-c", "import datasets"], capture_output=True, check=False).returncode:
        print(f"{options.peer} has no `datasets`: measuring ours only")
        contestants = {"bloomery": contestants["bloomery"]}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("TOKENIZERS_PARALLELISM", None)
    for _ in range(options.rounds):
        for name, command in contestants.items():
            done = subprocess.run(
                [*command, "--folder", str(folder)], env=environment, capture_output=True, text=True, check=True
            )
            results[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return results


def ours(folder: Path) -> dict[str, float]:
    """Token stores from an empty cache, then every step of one pass; and how long slow steps wait."""
    from bloomery.core.rows import Segment
    from bloomery.data.blend import Blend
    from bloomery.data.config import SourceSpec
    from bloomery.data.loader import StepLoader
    from bloomery.data.render import Renderer
    from bloomery.data.rows import RowTable
    from bloomery.data.store import build_store

    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        renderer = Renderer(TOKENIZER)
        tables = {}
        for name in SHARES:
            store = build_store(name, SourceSpec(path=f"{name}.jsonl"), folder, renderer, Path(cache))
            tables[name] = RowTable(store, 1024)
        tokenized = time.perf_counter()
        total = sum(table.n_tokens for table in tables.values())
        shares = {name: table.n_tokens / total for name, table in tables.items()}
        blend = Blend(tables, [Segment(0, shares)], BATCH_TOKENS, 1)
        taken, step, starts = 0, 0, time.perf_counter()
        while taken < total - BATCH_TOKENS:
            taken += sum(len(tables[ref.source].row(ref.index, ref.epoch)) for ref in blend.step(step))
            step += 1
        ended = time.perf_counter()
        result = _result(total, tokenized - began, taken, ended - starts)
        waited, slow = 0.0, time.perf_counter()
        with StepLoader(Blend(tables, [Segment(0, shares)], BATCH_TOKENS, 1), tables, 0, 40) as loader:
            for _, _, seconds in loader:
                waited += seconds
                time.sleep(0.1)  # 82k tokens/s: ten times what the ember model trains at on two cores
        share = waited / (time.perf_counter() - slow)
    return result | {"waiting": share}


def peer(folder: Path, processes: int) -> dict[str, float]:
    """The same with `datasets`: load, map, interleave, iterate, stopping where the first source ends."""
    os.environ["HF_HOME"] = tempfile.mkdtemp(dir=folder)
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    end = tokenizer.eos_token_id

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"input_ids": [[*ids, end] for ids in tokenizer(batch["text"])["input_ids"]]}

    began = time.perf_counter()
    parts, total = [], 0
    for name in SHARES:
        rows = datasets.load_dataset("json", data_files=str(folder / f"{name}.jsonl"), split="train")
        many = processes if processes > 1 else None
        parts.append(rows.map(encode, batched=True, remove_columns=rows.column_names, num_proc=many))
    tokenized = time.perf_counter()
    counts = [sum(len(ids) for ids in part.with_format("numpy")["input_ids"][:]) for part in parts]
    total = sum(counts)
    means = [count / len(part) for count, part in zip(counts, parts, strict=True)]
    rows_share = [count / total / mean for count, mean in zip(counts, means, strict=True)]
    probabilities = [share / sum(rows_share) for share in rows_share]
    starts = time.perf_counter()
    blend = datasets.interleave_datasets(parts, probabilities=probabilities, seed=1)
    taken = sum(len(row["input_ids"]) for row in blend)
    return _result(total, tokenized - began, taken, time.perf_counter() - starts)


def _result(tokens: int, tokenizing: float, blended: int, blending: float) -> dict[str, float]:
    both = tokenizing / tokens + blending / blended
    used = os.times()
    return {
        "tokens / CPU second": tokens / (used.user + used.system + used.children_user + used.children_system),
        "tokens": tokens,
        "tokenizing tokens/s": tokens / tokenizing,
        "blending tokens/s": blended / blending,
        "both tokens/s": 1 / both,
    }


def report(results: dict[str, list[dict[str, float]]]) -> None:
    """A table of medians, and the ratio to the faster of the peers, round by round."""
    columns = ["tokenizing tokens/s", "blending tokens/s", "both tokens/s", "tokens / CPU second"]
    print(f"| {'':24} | " + " | ".join(f"{column:>20}" for column in columns) + " |")
    print(f"|{'-' * 26}|" + "|".join("-" * 22 for _ in columns) + "|")
    for name, rounds in results.items():
        medians = [statistics.median(r[column] for r in rounds) for column in columns]
        print(f"| {name:24} | " + " | ".join(f"{median:>20,.0f}" for median in medians) + " |")
    own, *peers = results.values()
    print(f"\ntokens of one pass: {own[0]['tokens']:,.0f}")
    print(f"share of time a step of 0.1 s waits for data: {statistics.median(r['waiting'] for r in own):.3%}")
    if peers:
        for column, bar in (("both tokens/s", "; bar 2.00"), ("tokens / CPU second", "")):
            ratios = [mine[column] / max(other[turn][column] for other in peers) for turn, mine in enumerate(own)]
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"{column}: ratio to the better peer, median {statistics.median(ratios):.2f} ({each}){bar}")


if __name__ == "__main__":
    main()
