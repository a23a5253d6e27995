"""Rollout workers: processes of their own that sample, with weights that the trainer publishes as files.

Each version is a folder with one safetensors file, written beside its place and renamed, so that a worker sees whole
versions only. A request carries its seed and number, so how many workers there are changes answers no more than how
prompts fall into batches does. A worker that dies is started again, and asked again.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import save_file

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.files import building_folder
from bloomery.core.sandbox import end
from bloomery.core.secret import without_secrets
from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.models.export import DTYPES, export_model
from bloomery.models.load import Loaded

WEIGHTS = "weights.safetensors"


class Fleet:
    """`count` workers over the weights of `loaded`, which `renew` publishes under `folder`; an engine that answers."""

    def __init__(self, loaded: Loaded, folder: Path, count: int) -> None:
        """Raises `InputError` for a model with adapters, whose weights are not those of a folder."""
        if any(".lora_" in name for name, _ in loaded.model.named_parameters()):
            raise InputError("`rollouts.workers` sample with whole weights", fix="use `method: full`, or no workers")
        self._model, self._folder = loaded.model, folder
        self._context = int(getattr(loaded.config, "max_position_embeddings", 0) or 1 << 30)
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier process; the run folder has one writer
        folder.mkdir(mode=0o700, parents=True)
        dtype = next(self._model.parameters()).dtype
        export_model(loaded, folder / "model", dtype={each: name for name, each in DTYPES.items()}[dtype])
        device = str(next(self._model.parameters()).device)
        self._workers = [_Worker(folder / "model", device, count) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="bloomery-worker")
        self._version = ""

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        return self._context

    def renew(self, version: int) -> None:
        """Publish the weights as they are now; the version before is removed, since nobody samples with it any more."""
        name = f"v{version:08d}"
        if name == self._version:
            return
        with building_folder(self._folder / name, {"version": version}, mode=0o700) as building:
            held = {key: tensor.detach().cpu().contiguous() for key, tensor in self._model.named_parameters()}
            save_file(held, building / WEIGHTS)
        if self._version:
            shutil.rmtree(self._folder / self._version)
        self._version = name

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer for each prompt, in order."""
        return self.answer([Request(prompt, sampling, number=number) for number, prompt in enumerate(prompts)])

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order. Requests that stand together go to one worker, since their prompts
        may be the same. Raises `BloomeryError` for a worker that dies twice."""
        each = -(-len(requests) // len(self._workers)) or 1
        parts = [requests[at : at + each] for at in range(0, len(requests), each)]
        weights = self._folder / self._version / WEIGHTS if self._version else None
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
        shutil.rmtree(self._folder, ignore_errors=True)


class _Worker:
    """One process; started when it is first asked."""

    def __init__(self, model: Path, device: str, count: int) -> None:
        self._job = {"model": str(model), "device": device}
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


def load_weights_into(model: torch.nn.Module, file: Path) -> None:
    """Put published weights into a model of the same kind, in place. Raises `KeyError` where one is missing."""
    from safetensors.torch import load_file

    held = load_file(file)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(held[name])
