"""Field types of recipes: shares, amounts and sizes as people write them, each with its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from bloomery.core.errors import InputError
from bloomery.core.quantity import Quantity, parse_budget, parse_bytes, parse_share

PIECES = ("share", "steps")


class Section(BaseModel):
    """A mapping of a recipe: unknown keys and infinite numbers are refused, values cannot change after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`depth: true` would be a depth of 1."""
        kinds = _kinds(cls.model_fields[_key(info)].annotation) if isinstance(value, bool) else set()
        if kinds & {int, float} and bool not in kinds:
            key = _key(info)
            raise InputError(f"`{key}: {str(value).lower()}` is no number", fix=f"write a number, or remove `{key}`")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field takes, inside unions and lists too."""
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation}


def _share(value: Any, info: ValidationInfo) -> float:
    return parse_share(_scalar(value, info, "`30%`"), _key(info))


def _amount(value: Any, info: ValidationInfo) -> Quantity:
    return value if isinstance(value, Quantity) else parse_budget(str(_scalar(value, info, "`20M tokens`")), _key(info))


def _piece(value: Any, info: ValidationInfo) -> Quantity:
    """A part of the run: '10%' or 0.1 of its steps, or '100 steps'."""
    if isinstance(value, Quantity):
        return value
    raw = str(_scalar(value, info, "`10%` or `100 steps`")).strip()
    if raw.endswith("%") or raw.replace(".", "", 1).isdigit():
        return Quantity(parse_share(raw, _key(info)), "share")
    amount = parse_budget(raw, _key(info))
    if amount.unit != "steps":
        raise InputError(
            f"`{_key(info)}: {value}` is in {amount.unit}", fix="write a share such as `10%`, or `100 steps`"
        )
    return amount


def _tokens(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    amount = parse_budget(str(_scalar(value, info, "`32k tokens`")), _key(info))
    if amount.unit != "tokens":
        raise InputError(f"`{_key(info)}: {value}` is in {amount.unit}", fix="write tokens, such as `32k tokens`")
    return round(amount.value)


def _parts(value: Any, info: ValidationInfo) -> dict[str, float]:
    """Parts of a whole as fractions. Bare numbers are percents or fractions, whichever makes the sum 100 %."""
    key = _key(info)
    if not isinstance(value, dict) or not value:
        raise InputError(f"`{key}: {value}` names no categories", fix="write `{code: 30%, general: 70%}`")
    numbers = {name: _number(part, f"{key}.{name}") for name, part in value.items()}
    whole = any(not text and number > 1 for number, text in numbers.values())
    for percent in (whole, not whole):
        found = {name: number if text or not percent else number / 100 for name, (number, text) in numbers.items()}
        if abs(sum(found.values()) - 1) <= 1e-6:
            return found
    said = sum(number / 100 if whole and not text else number for number, text in numbers.values())
    raise InputError(
        f"the categories under `{'data.curated' if key == 'categories' else key}` sum to {said * 100:.6g} %, not 100 %",
        fix="make them sum to 100 %; they divide what `data.share` leaves to curated data",
    )


def _number(part: Any, key: str) -> tuple[float, bool]:
    """(the number, whether it has its unit): `30%` is (0.3, True), 30 is (30, False)."""
    if isinstance(part, str) and part.strip().endswith("%"):
        return parse_share(part, key), True
    try:
        number = float(part) if not isinstance(part, bool) else -1.0
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 100:
        raise InputError(f"`{key}: {part}` is no part of a whole", fix="write `30%`, 30 or 0.3")
    return number, False


def _bytes(value: Any, info: ValidationInfo) -> int:
    return parse_bytes(str(_scalar(value, info, "`8 GB`")), _key(info))


def _scalar(value: Any, info: ValidationInfo, example: str) -> str | int | float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    raise InputError(f"`{_key(info)}: {value}` is not an amount", fix=f"write something like {example}")


def _key(info: ValidationInfo) -> str:
    return info.field_name or "value"


Share = Annotated[
    float, BeforeValidator(_share), WithJsonSchema({"type": ["string", "number"], "examples": ["30%", 0.3]})
]
"""A fraction in [0, 1], written `30%` or `0.3`."""

Parts = Annotated[
    dict[str, float],
    PlainValidator(_parts),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "number"]},
            "examples": [{"code": "30%", "general": "70%"}, {"code": 30, "general": 70}],
        }
    ),
]
"""Categories with their parts, as fractions that sum to 1; written in percent or as fractions."""

Amount = Annotated[
    Quantity,
    PlainValidator(_amount),
    WithJsonSchema({"type": "string", "examples": ["20M tokens", "2 epochs", "500 steps"]}),
]
"""Tokens, steps or epochs: a `Quantity` whose unit is one of those."""

Piece = Annotated[
    Quantity, PlainValidator(_piece), WithJsonSchema({"type": ["string", "number"], "examples": ["10%", "100 steps"]})
]
"""Part of a run: a `Quantity` whose unit is `share` (of the steps) or `steps`."""

Tokens = Annotated[
    int, PlainValidator(_tokens), WithJsonSchema({"type": ["string", "integer"], "examples": ["32k tokens", 32768]})
]
"""A number of tokens; the unit may be left out, because the key says it."""

Size = Annotated[int, PlainValidator(_bytes), WithJsonSchema({"type": "string", "examples": ["8 GB", "512 MiB"]})]
"""Bytes, written with their unit."""
