"""A rollout worker: reads a model's folder, then answers requests with the weights it is told, a line of JSON each.

{"model", "adapter", "dtype", "device", "keep"}, then {"weights": folder or null, "requests"} -> {"answers"}, {"error"}
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from bloomery.core.errors import BloomeryError
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.models.export import DTYPES
from bloomery.models.load import Loaded, load_model
from bloomery.models.lora import load_lora
from bloomery.rl.published import load_version


def main() -> None:
    """Answer standard input until it ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    job, held = json.loads(sys.stdin.readline()), None
    try:
        loaded = _opened(job)
    except BloomeryError as error:
        _say(out, {"error": str(error)})
        return
    engine = NativeEngine(loaded, keep=job["keep"])
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["weights"] != held:
                load_version(loaded.model, Path(asked["weights"]))
                engine.forget()
                held = asked["weights"]
            _say(out, {"answers": [_told(one) for one in engine.answer(_requests(asked))]})
        except BloomeryError as error:
            _say(out, {"error": str(error)})


def _opened(job: Mapping[str, Any]) -> Loaded:
    """The model that the job names; the trainer has compared it with its own logits already."""
    loaded = load_model(job["model"], dtype=DTYPES[job["dtype"]], device=job["device"], check=False)
    if job["adapter"]:
        load_lora(loaded.model, Path(job["adapter"]))
    loaded.model.eval()
    return loaded


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
