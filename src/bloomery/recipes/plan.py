"""The plan: everything a run will do, complete, as plain values that each say where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bloomery.core.errors import DamagedError, InputError, Where, nearest
from bloomery.core.files import read_json, write_json

Origin = Literal["user", "family", "stage default", "derived"]
VERSION = 3


@dataclass(frozen=True, slots=True)
class Value:
    """One decided value (plain JSON), who decided it, and why."""

    value: Any
    origin: Origin
    why: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of rows in the plan.

    `spec` is what `SourceSpec` takes, with absolute paths. `share` is its part of its role's tokens, None
    meaning in proportion to its tokens. `tokens` is what the family file says it has, where it says so. `made` is
    `self` for rows that the run samples from its own start; `long` for those whose rows may be long.
    """

    name: str
    role: Literal["domain", "curated"]
    spec: Mapping[str, Any]
    share: float | None = None
    tokens: int | None = None
    shape: str = "auto"
    licence: str | None = None
    category: str | None = None
    made: Literal["self"] | None = None
    long: bool = False

    @property
    def kind(self) -> str:
        """The category it belongs to: its own name where it has no other."""
        return self.category or self.name


@dataclass(frozen=True, slots=True)
class Arm:
    """One training of the plan; the first arm is the recipe's own blend, called `blend`.

    `segments` are `{"start": step, "share": {source: fraction}}`; `share` is the domain's share in the first one.
    """

    name: str
    tokens: int
    steps: int
    share: float
    segments: tuple[Mapping[str, Any], ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Decided values by dotted key, in the order they were decided.

    `estimated` tells whether steps, arms and segments follow from estimated or from counted tokens.
    """

    values: Mapping[str, Value]

    def get(self, key: str) -> Any:
        """The value at a dotted key; raises `KeyError` with the nearest key for one the plan does not have."""
        if key not in self.values:
            raise KeyError(f"the plan has no `{key}`{nearest(key, self.values)}")
        return self.values[key].value

    def origin(self, key: str) -> Origin:
        """Who decided the value at `key`."""
        return self.values[key].origin

    def section(self, prefix: str) -> dict[str, Any]:
        """The values under `prefix.`, by the rest of their key."""
        start = f"{prefix}."
        return {key.removeprefix(start): v.value for key, v in self.values.items() if key.startswith(start)}

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self.values.items())

    @property
    def estimated(self) -> bool:
        """Whether what follows from token counts was settled by estimate."""
        return bool(self.get("estimated"))

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, domain first."""
        return tuple(Source(**source) for source in self.get("sources"))

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All arms, `blend` first."""
        return tuple(Arm(**{**arm, "segments": tuple(arm["segments"])}) for arm in self.get("arms"))

    def arm(self, name: str = "blend") -> Arm:
        """One arm by name."""
        return next(arm for arm in self.arms if arm.name == name)

    def updated(self, values: Mapping[str, Value]) -> Plan:
        """A copy with some values replaced or added."""
        return Plan({**self.values, **values})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value; `from_json` is its inverse."""
        rows = {key: {"value": v.value, "from": v.origin, "why": v.why} for key, v in self.values.items()}
        return {"version": VERSION, "values": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Rebuild from `to_json`; raises `InputError` for another version, `KeyError` or `TypeError` for no plan."""
        if data["version"] != VERSION:
            raise InputError(
                f"a plan of version {data['version']}, and this Bloomery reads version {VERSION}",
                fix="go on from its weights: `model:` with the folder `model` of the run",
            )
        return cls({key: Value(v["value"], v["from"], v["why"]) for key, v in data["values"].items()})

    def write(self, path: Path) -> None:
        """Write `plan.json` atomically, readable by its owner only: it holds paths of the user's data."""
        write_json(path, self.to_json(), 0o600)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read `plan.json`; raises `DamagedError` when it is not one of ours."""
        try:
            return cls.from_json(read_json(path))
        except InputError as error:
            raise InputError(error.message, where=Where(path), fix=error.fix) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"is not a plan: {error}", where=Where(path)) from None
