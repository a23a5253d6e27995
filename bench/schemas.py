"""Random JSON schemas, an answer to each at temperature 1, and whether two validators take it.

    PYTHONPATH=tests/support python bench/schemas.py [--count 500] [--model ember/posttrained] [--tokens 640]

Exits with 1 where an answer is not valid or was cut where its tokens end, or a schema was refused.
"""

from __future__ import annotations

import argparse
import json
import time

from random_schemas import answered, problem, random_schemas, text_of

from bloomery.engine.native import NativeEngine
from bloomery.recipes.find import find_model
from bloomery.recipes.opening import opened


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--count", type=int, default=500)
    reader.add_argument("--model", default="ember/posttrained")
    reader.add_argument("--tokens", type=int, default=640)
    reader.add_argument("--seed", type=int, default=0)
    given = reader.parse_args()
    engine = NativeEngine(opened(find_model(given.model)))
    schemas = random_schemas(given.seed, given.count)
    began = time.monotonic()
    answers, refused = answered(engine, schemas, given.tokens)
    seconds = time.monotonic() - began
    ended = [n for n, one in answers.items() if one.ended == "stop"]
    wrong = {n: why for n in ended if (why := problem(text_of(engine, answers[n]), schemas[n]))}
    for n, why in wrong.items():
        print(f"INVALID {n}: {why}\n  {json.dumps(schemas[n])}\n  {text_of(engine, answers[n])}")
    for n, why in refused.items():
        print(f"REFUSED {n}: {why}\n  {json.dumps(schemas[n])}")
    others = {one.ended for one in answers.values()} - {"stop", "length"}
    cut = sum(one.ended == "length" for one in answers.values())
    print(
        f"{given.count} schemas, no two alike: {len(ended)} answers ended, "
        f"{len(ended) - len(wrong)} of them valid; {cut} cut after {given.tokens} tokens; {len(refused)} refused; "
        f"{sum(len(one.ids) for one in answers.values()):,} tokens in {seconds:.0f} s"
    )
    return int(bool(wrong or refused or others or cut))


if __name__ == "__main__":
    raise SystemExit(main())
