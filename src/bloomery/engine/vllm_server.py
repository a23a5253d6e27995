"""A vLLM server as a process of ours: on loopback, with a token, watched until it answers, stopped with its group."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bloomery.core.errors import BloomeryError, InputError, Where
from bloomery.core.http import Access, Caps, Http, HttpError
from bloomery.core.secret import without_secrets
from bloomery.engine.vllm import VllmEngine, VllmService
from bloomery.engine.vllm_command import COMMAND, RANKS, vllm_command
from bloomery.models import guard

OWN = Http(Access(private=True), Caps(connect=5.0, read=5.0, total=5.0))
"""Asks a server of ours, on loopback, whether it is well."""
START_SECONDS = 600.0
"""Longest wait for a server to answer: it reads the weights and compiles; 20 s for ember, minutes for a large one."""
GRACE = 10.0
"""Seconds between asking a server to stop and killing it."""
TAIL = 15
"""Lines of its log that an error shows."""


class VllmServer:
    """A running server for the model in `folder`; a context manager. `url` and `token` reach it.

    `adapters` is the highest rank of LoRA adapters it takes, 0 for none. `arguments` go to vLLM as they are.
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        command: Sequence[str] | None = None,
        arguments: Sequence[str] = (),
        name: str = "model",
        adapters: int = 0,
        patience: float = START_SECONDS,
    ) -> None:
        self.command, self.arguments = list(command or vllm_command()), list(arguments)
        self.name, self.adapters, self.patience = name, adapters, patience
        self.log, self.token = log, secrets.token_urlsafe(32)
        self._start(folder)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def engine(self, *, exact: bool = True) -> VllmEngine:
        """An engine over it."""
        return VllmEngine(self.url, self.token, model=self.name, exact=exact, scores=not self.adapters)

    def service(self) -> VllmService:
        """A service over it."""
        return VllmService(self.url, self.token, model=self.name)

    def update(self, folder: Path) -> None:
        """Answer with the weights in `folder` from now on; adapters are to be loaded again, and `url` is another.

        The server starts again, which takes as long as its first start. vLLM can read weights into a running server
        (`reload_weights`), but only through development routes that ask for no token, and vLLM 0.32 on a CPU then
        answered with other weights than it was given, without an error.
        """
        guard.check_folder(folder)
        self.stop()
        self._start(folder)

    def alive(self) -> bool:
        """Whether it answers that it is well."""
        try:
            return OWN.send("GET", self.url + "/health", {}).status == 200
        except HttpError:
            return False

    def stop(self) -> None:
        """Stop it and every process it started."""
        self._finalizer()

    def __enter__(self) -> VllmServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, folder: Path) -> None:
        guard.check_folder(folder)
        if shutil.which(self.command[0]) is None:
            raise InputError(f"`{self.command[0]}` cannot be started", fix=f"change the command, or {COMMAND}")
        self.folder, self.port = folder, _free_port()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(self.log, flags, 0o600), "wb") as log:
            self.process = subprocess.Popen(
                [*self.command, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self._finalizer = weakref.finalize(self, _end, self.process)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _arguments(self) -> list[str]:
        found = ["--model", str(self.folder.resolve()), "--served-model-name", self.name]
        found += ["--host", "127.0.0.1", "--port", str(self.port), "--logprobs-mode", "processed_logprobs"]
        # llguidance, as ours; without white space, since a small model may write spaces for ever, as a schema allows
        grammar = {"backend": "guidance", "disable_any_whitespace": True}
        found += ["--structured-outputs-config", json.dumps(grammar)]
        if self.adapters:
            found += ["--enable-lora", "--max-lora-rank", str(_rank(self.adapters))]
        return found + self.arguments

    def _environment(self) -> dict[str, str]:
        """Ours without what sounds secret; the token goes here, since anybody can read a command line."""
        extra = {"VLLM_API_KEY": self.token, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
        if self.adapters:
            extra["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        return without_secrets(os.environ) | extra

    def _wait(self) -> None:
        """Until it answers. Raises `BloomeryError` with the end of its log where it ends first, or takes too long."""
        deadline = time.monotonic() + self.patience
        while not self.alive():
            if self.process.poll() is not None:
                raise self._failed(f"vLLM ended with status {self.process.returncode} before it answered")
            if time.monotonic() > deadline:
                raise self._failed(f"vLLM did not answer within {self.patience:g} s")
            time.sleep(0.2)

    def _failed(self, what: str) -> BloomeryError:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        shown = "\n".join(f"  | {line}" for line in lines)
        return BloomeryError(f"{what}; the end of its log:\n{shown}", where=Where(self.log))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to stop, then kill what is left of it: vLLM's engine is a process of its own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
        if sign == signal.SIGTERM:
            time.sleep(0.5)  # its children see that it is gone
    process.wait(GRACE)


def _rank(wanted: int) -> int:
    """The lowest rank that vLLM can be started for and that holds `wanted`; it refuses one above all."""
    return next((rank for rank in RANKS if rank >= wanted), wanted)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
