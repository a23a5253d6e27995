"""Rollout workers: processes of their own that sample, with weights that the trainer publishes as files.

A request carries its seed and number, so how many workers there are changes answers no more than how prompts fall into
batches does. A worker that dies is started again, and asked again. What they read is `published.py`'s.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.sandbox import end
from bloomery.core.secret import without_secrets
from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.models.load import Loaded
from bloomery.rl.published import Published


class Fleet:
    """`count` workers over the weights of `loaded`, which `renew` publishes under `folder`; an engine that answers.

    With `keep` they go on from the turn before, as the native engine does.
    """

    def __init__(self, loaded: Loaded, folder: Path, count: int, *, keep: bool = False) -> None:
        self._published = Published(loaded, folder)
        self._context = int(getattr(loaded.config, "max_position_embeddings", 0) or 1 << 30)
        device = str(next(loaded.model.parameters()).device)
        job = {**self._published.start(), "dtype": self._published.dtype, "device": device, "keep": keep}
        self._workers = [_Worker(job, count) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="bloomery-worker")

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        return self._context

    def renew(self, version: int) -> None:
        """Publish the weights as they are now: the next answers are sampled with them."""
        self._published.renew(version)

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer for each prompt, in order."""
        return self.answer([Request(prompt, sampling, number=number) for number, prompt in enumerate(prompts)])

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order. Requests that stand together go to one worker, since their prompts
        may be the same. Raises `BloomeryError` for a worker that dies twice."""
        each = -(-len(requests) // len(self._workers)) or 1
        parts = [requests[at : at + each] for at in range(0, len(requests), each)]
        weights = self._published.newest
        asked = [
            self._pool.submit(worker.answer, part, weights)
            for worker, part in zip(self._workers, parts, strict=False)  # a few requests leave workers idle
        ]
        return [one for part in asked for one in part.result()]

    def close(self) -> None:
        """End the workers, and remove what was published."""
        for worker in self._workers:
            worker.close()
        self._pool.shutdown(cancel_futures=True)
        self._published.close()


class _Worker:
    """One process; started when it is first asked."""

    def __init__(self, job: Mapping[str, Any], count: int) -> None:
        self._job = dict(job)
        self._threads = str(max(1, (os.cpu_count() or 1) // (count + 1)))
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def answer(self, requests: Sequence[Request], weights: Path | None) -> list[Completion]:
        """What it answers with these weights."""
        told = {"weights": weights and str(weights), "requests": [_plain(one) for one in requests]}
        for last in (False, True):
            try:
                return [_completion(one) for one in self._ask(told)]
            except (OSError, EOFError) as error:
                status = self.kill()
                if last or self._closed:
                    fix = "see its error above; fewer workers need less memory"
                    raise BloomeryError(f"a rollout worker died twice (status {status})", fix=fix) from error
        raise AssertionError

    def close(self) -> None:
        """End it for good."""
        self._closed = True
        self.kill()

    def kill(self) -> int | None:
        """End it; its status."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        end(process)
        return process.returncode

    def _ask(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        if self._closed:
            raise EOFError
        if self._process is None:
            self._process = self._started()
            _send(self._process.stdin, self._job)
        _send(self._process.stdin, told)
        found = _receive(self._process.stdout)
        if "error" in found:
            raise InputError(found["error"])
        answers: list[dict[str, Any]] = found["answers"]
        return answers

    def _started(self) -> subprocess.Popen[bytes]:
        given = without_secrets(os.environ) | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", self._threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "bloomery.rl.fleet_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given, start_new_session=True,
        )  # fmt: skip


def _send(stream: IO[bytes] | None, told: dict[str, Any]) -> None:
    assert stream is not None
    stream.write(json.dumps(told).encode() + b"\n")
    stream.flush()


def _receive(stream: IO[bytes] | None) -> dict[str, Any]:
    assert stream is not None
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    found: dict[str, Any] = json.loads(line)
    return found


def _plain(request: Request) -> dict[str, Any]:
    assert request.sampling.grammar is None and not request.adapter
    return {"prompt": [*request.prompt], "sampling": asdict(request.sampling), "number": request.number}


def _completion(told: dict[str, Any]) -> Completion:
    logprobs = np.frombuffer(base64.b64decode(told["logprobs"]), "<f4").astype(np.float32)
    ids, reason, seconds = tuple(told["ids"]), told["finish_reason"], told["seconds"]
    return Completion(ids, logprobs, reason, seconds, told["first"], stopped=told["stopped"])
