"""The other side of `sandbox.py`: started by path in a fresh interpreter, it calls one function on each item of a job.

Reads the job (JSON) from the file named on the command line; writes one JSON line a result. Standard
library only: the interpreter is isolated and does not see this package.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Limit this process, load the user's function and report each call."""
    job = json.loads(Path(sys.argv[1]).read_text())
    results = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what the function prints must not mix with its results
    _limit(job["memory"], job["cpu_seconds"])
    try:
        function = load(Path(job["file"]), job["function"])
    except BaseException as error:
        results.write(json.dumps({"broken": _name(error)}) + "\n")
        return
    results.write(json.dumps({"ready": True}) + "\n")
    for item in job["items"]:
        results.write(call(function, item, job["spread"]) + "\n")


def call(function: Any, item: Any, spread: bool, caught: type[BaseException] = BaseException) -> str:
    """{"value"} or {"error"} as JSON; `spread` makes arguments of a list's items or a mapping's keys."""
    try:
        value = (function(**item) if isinstance(item, dict) else function(*item)) if spread else function(item)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        return json.dumps({"value": value}, default=_plain)
    except caught as error:
        return json.dumps({"error": _name(error)})


def _limit(memory: int, cpu_seconds: int) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 1 << 24),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def load(file: Path, name: str) -> Any:
    """The function `name` of a Python file, which may import its neighbours. Raises what the file raises."""
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise AttributeError(f"{file.name} defines no function `{name}`")
    return function


def _plain(value: Any) -> Any:
    """Array scalars (numpy, torch) as Python numbers; anything else is the caller's mistake."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"returned a {type(value).__name__}, which is not JSON")


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    main()
