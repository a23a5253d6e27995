"""A rollout worker: reads a model's folder, then answers requests with the weights it is told, a line of JSON each.

{"model", "device"}, then {"weights": file or null, "requests"} -> {"answers"} or {"error"}
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import torch

from bloomery.core.errors import BloomeryError
from bloomery.core.files import read_json
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.models.export import DTYPES
from bloomery.models.load import load_model
from bloomery.rl.fleet import load_weights_into


def main() -> None:
    """Answer standard input until it ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    job = json.loads(sys.stdin.readline())
    folder = Path(job["model"])
    dtype = DTYPES[read_json(folder / "config.json")["dtype"]]
    try:  # the trainer has compared the model with its own logits already
        loaded = load_model(folder, dtype=dtype, device=job["device"], check=False)
    except BloomeryError as error:
        _say(out, {"error": str(error)})
        return
    loaded.model.eval()
    engine, held = NativeEngine(loaded), None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["weights"] != held:
            load_weights_into(loaded.model, Path(asked["weights"]))
            held = asked["weights"]
        try:
            _say(out, {"answers": [_told(one) for one in engine.answer(_requests(asked))]})
        except BloomeryError as error:
            _say(out, {"error": str(error)})


def _say(out: IO[bytes], told: dict[str, Any]) -> None:
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


def _requests(asked: dict[str, Any]) -> list[Request]:
    return [Request(one["prompt"], _sampling(one["sampling"]), number=one["number"]) for one in asked["requests"]]


def _sampling(told: dict[str, Any]) -> Sampling:
    stops = told["stop_ids"]
    bias = tuple((int(token), float(value)) for token, value in told["logit_bias"])
    return Sampling(**told | {"stop_ids": None if stops is None else tuple(stops), "logit_bias": bias})


def _told(answer: Completion) -> dict[str, Any]:
    return {
        "ids": answer.ids,
        "logprobs": base64.b64encode(answer.logprobs.astype("<f4").tobytes()).decode(),
        "finish_reason": answer.finish_reason,
        "seconds": answer.seconds,
        "first": answer.first,
        "stopped": answer.stopped,
    }


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
