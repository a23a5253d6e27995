"""Environments by the name that a recipe gives: ours, adapters to other packages' (each in its own process), a file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.rl.environments.apart import Program

NEAR = ("repair", "calculator", "guess")
"""Ours, which run in this process."""
ADAPTERS = {
    "gymnasium": ("gymnasium_text.py", "Gymnasium"),
    "reasoning-gym": ("reasoning_gym_tasks.py", "ReasoningGym"),
    "openenv": ("openenv_client.py", "OpenEnv"),
    "verifiers": ("verifiers_v0.py", "Verifiers"),
    "verifiers-v1": ("verifiers_v1.py", "VerifiersV1"),
    "trl": ("trl_factory.py", "TrlEnvironment"),
}
"""Name -> file under `adapters/` and class in it; each imports its own package and the standard library only."""


def near(kind: str, kwargs: Mapping[str, Any]) -> Any:
    """The class of one of ours. Raises `InputError` for what it cannot be made with."""
    from bloomery.rl.environments.calculator import Calculator
    from bloomery.rl.environments.guess import Guess
    from bloomery.rl.environments.repair import Repair

    made: Any = {"repair": Repair, "calculator": Calculator, "guess": Guess}[kind]
    known = [*inspect.signature(made).parameters]
    for key in kwargs:
        if key not in known:
            message = f"the environment `{kind}` has no option `{key}`{nearest(key, known)}"
            raise InputError(message, fix=f"rename or remove `rollouts.environment.{key}`")
    try:
        made(**kwargs)
    except TypeError as error:
        raise InputError(f"the environment `{kind}` cannot be made: {error}", fix="change its options") from None
    return made


def program(kind: str, kwargs: Mapping[str, Any], python: str, passed: tuple[str, ...]) -> Program:
    """What runs in a process of its own: an adapter, or `path/to/file.py:Class`. Raises `InputError` for neither."""
    if kind in ADAPTERS:
        file, name = ADAPTERS[kind]
        return Program(Path(__file__).parent / "adapters" / file, name, kwargs, python, passed)
    path, _, name = kind.rpartition(":")
    if not path.endswith(".py") or not name:
        raise InputError(
            f"`rollouts.environment.type: {kind}` is no environment{nearest(kind, [*NEAR, *ADAPTERS])}",
            fix="name one of ours, or a class of your own: `file.py:Class`",
        )
    return Program(Path(path), name, kwargs, python, passed)
