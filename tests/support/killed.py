"""Verbs and programs in processes of their own, some killed, or stopped, at a chosen moment.

The processes are forked from a server that has imported everything and computed nothing, so that each starts at once.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TextIO

from tiny import main

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "killed",
        "bloomery.recipes.run",
        "bloomery.engine.native",
        "bloomery.evals.runner",
        "bloomery.serve.app",
        "bloomery.serve.server",
        "transformers.models.llama.modeling_llama",
        "peft",
    ]
)
PATIENCE = 100.0
"""Seconds after which a process that should have ended counts as hanging."""


def start(folder: Path, *arguments: str, at: str = "", times: int = 1, number: int = signal.SIGKILL) -> BaseProcess:
    """Start a verb in `folder`, its output in `said.txt` there, of the rank R of several in `said-R.txt`.

    It sends itself the signal `number` when it calls the function `at` ("module:name") for the `times`th time.
    """
    process = SERVER.Process(target=_verb, args=(str(folder), arguments, at, times, int(number), dict(os.environ)))
    process.start()
    return process


def begin(program: str | Path, *words: str, within: Path, **environ: str) -> tuple[BaseProcess, TextIO]:
    """Start `bloomery`, or a Python file, in a folder, with more in its environment: the process and what it says."""
    reader, writer = SERVER.Pipe(duplex=False)
    told = (str(within), program, words, os.environ | environ, writer)
    process = SERVER.Process(target=_program, args=told)
    process.start()
    writer.close()
    return process, os.fdopen(os.dup(reader.fileno()))


def wait(process: BaseProcess) -> int:
    """The exit status of a process, negative where a signal ended it."""
    process.join(PATIENCE)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def run_to(folder: Path, *arguments: str, at: str, times: int = 1, number: int = signal.SIGKILL) -> int:
    """`start`, then `wait`."""
    return wait(start(folder, *arguments, at=at, times=times, number=number))


def until(true: Callable[[], bool], process: BaseProcess) -> None:
    """Wait until something is true while a process goes on."""
    began = time.monotonic()
    while not true():
        assert process.is_alive(), "the process ended first"
        assert time.monotonic() - began < PATIENCE, "it never happened"
        time.sleep(0.01)


def _verb(folder: str, arguments: tuple[str, ...], at: str, times: int, number: int, environ: dict[str, str]) -> None:
    _enter(folder, environ)
    name = f"said-{environ['RANK']}.txt" if "RANK" in environ else "said.txt"
    said = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(said, stream.fileno())
    if at:
        _arm(at, times, number)
    main(arguments)


def _program(folder: str, program: str | Path, words: tuple[str, ...], environ: dict[str, str], out: Any) -> None:
    _enter(folder, environ)
    os.dup2(out.fileno(), 1)
    out.close()
    if program == "bloomery":
        main(words)
    sys.argv[:] = [str(program), *words]
    runpy.run_path(str(program), run_name="__main__")


def _enter(folder: str, environ: dict[str, str]) -> None:
    gc.freeze()  # what the server imported
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)


def _arm(at: str, times: int, number: int) -> None:
    """Replace a function by one that sends this process a signal on its `times`th call."""
    name, _, attribute = at.partition(":")
    module = importlib.import_module(name)
    real, calls = getattr(module, attribute), 0

    def armed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == times:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    setattr(module, attribute, armed)
