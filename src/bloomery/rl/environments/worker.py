"""The other side of `apart.py`: environments of one class, each in a thread of its own, asked by lines of JSON.

Started by path in any interpreter, so it imports the standard library only. The first line of standard input is the
job `{file, class, kwargs, tasks?}`; each later one a call `{id, seat, do, given}`, answered by `{id, value}` or
`{id, error}` in whatever order they end. A job with `tasks` is answered by that many rows instead.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import itertools
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any


def main() -> None:
    """Load the class, then answer until standard input ends."""
    sys.path.pop(0)  # the folder of this file, whose names are none of the environment's business
    sys.modules["worker"] = sys.modules["__main__"]  # what an adapter may import of it
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what an environment prints must not mix with its answers
    job = json.loads(sys.stdin.readline())
    drives = False
    try:
        made = load(Path(job["file"]), job["class"])
        if "tasks" in job:
            for row in itertools.islice(made.tasks(job["tasks"], **job["kwargs"]), job["tasks"]):
                out.write(_json({"row": row}) + "\n")
        else:
            drives = tried(made, job["kwargs"])  # what it cannot do is said before anything is sampled
    except BaseException as error:
        out.write(_json({"broken": named(error)}) + "\n")
        return
    out.write(_json({"ready": True, "drives": drives}) + "\n")
    if "tasks" not in job:
        _serve(made, job["kwargs"], out)


def load(file: Path, name: str) -> Any:
    """The class `name` of a Python file, which may import its neighbours. Raises what the file raises."""
    sys.path.append(str(file.parent))  # last: an adapter's own name must not hide the package that it adapts
    spec = importlib.util.spec_from_file_location(f"environment_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise AttributeError(f"{file.name} defines no class `{name}`")
    return found


class Incomplete(Exception):
    """An environment without a method that it is asked by; the text says which."""


def tried(made: Any, kwargs: dict[str, Any]) -> bool:
    """Make an environment, in the main thread, where packages may do once what they do nowhere else.

    Tells whether it drives its rollouts itself. Raises `Incomplete` where it can do neither that nor be asked.
    """
    one = made(**kwargs)
    drives = _can(one, "run") and not _can(one, "step")
    for name in ("run",) if drives else ("reset", "step"):
        _refuse_without(one, name)
    close = getattr(one, "close", None)

    async def closed() -> None:
        await result(close() if callable(close) else None)

    asyncio.run(closed())
    return drives


METHODS = {"reset": ("row", "seed"), "step": ("message",), "run": ("task", "base_url", "api_key")}
"""What an environment is asked by, and what with."""


def _can(one: Any, name: str) -> bool:
    return callable(getattr(one, name, None))


def _refuse_without(one: Any, name: str) -> None:
    told = f"`{name}({', '.join(METHODS[name])})`"
    if not _can(one, name):
        other = "" if _can(one, "reset") or _can(one, "step") else ", nor `run(task, base_url, api_key)`"
        raise Incomplete(f"it has no {told}{other}")
    try:
        inspect.signature(getattr(one, name)).bind(*METHODS[name])
    except TypeError as error:
        raise Incomplete(f"its `{name}` cannot be called as {told}: {error}") from None
    except ValueError:
        pass  # one that tells no signature is tried when it runs


def _serve(made: Any, kwargs: dict[str, Any], out: Any) -> None:
    seats: dict[int, Seat] = {}
    writing = threading.Lock()

    def say(told: dict[str, Any]) -> None:
        with writing:
            out.write(_json(told) + "\n")

    for line in sys.stdin:
        call = json.loads(line)
        seat = seats.pop(call["seat"], None) if call["do"] == "end" else seats.get(call["seat"])
        if seat is None:
            seat = Seat(made, kwargs, say)
            if call["do"] != "end":
                seats[call["seat"]] = seat
            seat.start()
        seat.calls.put(call)
    os._exit(0)  # threads that hang must not keep the process


class Seat(threading.Thread):
    """One environment, from its first reset to its end, with an event loop of its own."""

    def __init__(self, made: Any, kwargs: dict[str, Any], say: Any) -> None:
        super().__init__(daemon=True)
        self.calls: queue.Queue[dict[str, Any]] = queue.Queue()
        self._made, self._kwargs, self._say = made, kwargs, say
        self._one: Any = None

    def run(self) -> None:
        """Answer calls, one after the other."""
        with asyncio.Runner() as runner:
            while True:
                call = self.calls.get()
                try:
                    value = runner.run(self._answered(call["do"], call["given"]))
                    self._say({"id": call["id"], "value": value})
                except BaseException as error:
                    self._say({"id": call["id"], "error": named(error)})
                if call["do"] == "end":
                    return

    async def _answered(self, do: str, given: dict[str, Any]) -> Any:
        if do == "reset":
            self._one = self._made(**self._kwargs)
            messages = await result(self._one.reset(given["row"], given["seed"]))
            return {"messages": messages, "tools": getattr(self._one, "tools", None)}
        if do == "step":
            return await result(self._one.step(given["message"]))
        reward = getattr(self._one, "reward", None)
        try:
            return {"reward": await result(reward()) if callable(reward) else None}
        finally:
            await self._closed()

    async def _closed(self) -> None:
        """Let go of it; what it earned does not depend on how that goes."""
        close = getattr(self._one, "close", None)
        try:
            await result(close() if callable(close) else None)
        except Exception as error:
            print(f"close: {named(error)}", file=sys.stderr)


async def result(value: Any) -> Any:
    """What a plain or an async method returned."""
    return await value if inspect.isawaitable(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """Array scalars (numpy) as Python's; anything else is the environment's mistake."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"returned a {type(value).__name__}, which is not JSON")


def named(error: BaseException) -> str:
    """An exception in one line."""
    return str(error) if isinstance(error, Incomplete) else f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    main()
