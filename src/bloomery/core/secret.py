"""Secrets: named in recipes as `{env: NAME}`, read when used, never printed, logged, pickled or serialised."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from bloomery.core.errors import InputError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TELLTALE = re.compile(r"key|token|secret|passw|credential|auth|cookie|session|private|dsn|url", re.IGNORECASE)
_SECRET = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_TUNING = re.compile(
    r"(OMP|MKL|OPENBLAS|TORCH|PYTORCH|CUDA|CUBLAS|NCCL|GLOO|SLURM_(JOB_ID|NNODES|NTASKS|PROCID))[A-Z0-9_]*"
)
_SHORTEST = 8
_HIDDEN = "[hidden]"


class Secret:
    """The name of an environment variable that holds a secret; only `reveal` reads it.

    In a pydantic model the field is written `{env: NAME}`; a plain string is refused without repeating it,
    because a secret typed into a recipe would be copied into the run folder.
    """

    __slots__ = ("env",)

    def __init__(self, env: str) -> None:
        if not _NAME.fullmatch(env):
            raise InputError(
                "a secret's `env` must be the name of an environment variable", fix="write `{env: MY_API_KEY}`"
            )
        self.env = env

    def reveal(self) -> str:
        """The secret itself. Raises `InputError` naming the variable where it is not set or empty."""
        value = os.environ.get(self.env, "")
        if not value:
            raise InputError(
                f"the environment variable {self.env} is not set", fix=f"export {self.env}=... and run again"
            )
        return value

    def to_recipe(self) -> dict[str, str]:
        """`{"env": NAME}`: what a saved recipe or plan may hold."""
        return {"env": self.env}

    @classmethod
    def parse(cls, value: object) -> Secret:
        """A `Secret`, or the mapping `{env: NAME}`, as a `Secret`; anything else is an `InputError`."""
        if isinstance(value, Secret):
            return value
        if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str):
            return cls(value["env"])
        raise InputError("a secret cannot stand in a recipe", fix="put it in the environment and write `{env: NAME}`")

    def __repr__(self) -> str:
        return f"Secret(env={self.env!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.env == other.env

    def __hash__(self) -> int:
        return hash((Secret, self.env))

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not travel between processes; pass its environment variable's name")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_recipe),
            json_schema_input_schema=core_schema.typed_dict_schema(
                {"env": core_schema.typed_dict_field(core_schema.str_schema())}
            ),
        )


def tuning_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that change how a run computes (threads, devices, collectives): all that provenance may record."""
    chosen = os.environ if environ is None else environ
    return {name: chosen[name] for name in sorted(chosen) if _TUNING.fullmatch(name) and not _TELLTALE.search(name)}


def scrub(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` with the value of every environment variable whose name sounds secret replaced by `[hidden]`.

    For text that others wrote and we pass on: a command line, a library's error. Values under eight
    characters stay, since replacing `1` or `prod` everywhere would hide nothing and garble much.
    """
    chosen = os.environ if environ is None else environ
    values = {value for name, value in chosen.items() if _TELLTALE.search(name) and len(value) >= _SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, _HIDDEN)
    return text


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program of others that we start: all but the variables whose name sounds secret."""
    return {name: value for name, value in environ.items() if not _SECRET.search(name)}


def secret_in(text: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The environment variable whose secret stands in `text`, None where there is none.

    Stricter than `scrub`, since a refusal follows: a path or an address without a password may well stand in a recipe.
    """
    chosen = os.environ if environ is None else environ
    found = (name for name, value in sorted(chosen.items()) if value in text and _SECRET.search(name) and _odd(value))
    return next(found, None)


def _odd(value: str) -> bool:
    plain = value.startswith(("/", "~", ".")) or ("://" in value and "@" not in value) or value.isalpha()
    return len(value) >= _SHORTEST and not plain
