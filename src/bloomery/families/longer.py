"""A model's configuration for a longer context: what its rotary embeddings must be told, and why.

Two ways are known to work with little training: a higher base frequency (ABF, Xiong et al., arXiv 2309.16039), and YaRN
(Peng et al., arXiv 2309.00071), for models that are scaled by it already. Pure functions of config.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from bloomery.core.errors import InputError, nearest

Rope = Literal["auto", "abf", "yarn"]

LONGEST_SHARE = 0.34
"""Most of the tokens that long rows may make: with 66 % long data Olmo 3 lost 2.5 points of short-context skill, with
34 % 0.8 (arXiv 2512.13961)."""

RISE = math.log(50) / math.log(8)
"""Llama 2 Long raised the base 50-fold (10,000 to 500,000) for 8 times the context (arXiv 2309.16039); other lengths
lie on the power law through that point and through no change at all."""


def longer(config: Mapping[str, Any], context: int, rope: Rope = "auto") -> tuple[dict[str, Any], str]:
    """(config.json for rows of `context` tokens, why): unchanged where the model takes them already.

    Only layers that see everything are told; those with a window keep theirs. Raises `InputError` for a model without
    rotary embeddings, or with a scaling that this does not know how to lengthen.
    """
    own = config.get("max_position_embeddings")
    if own is not None and context <= own:
        return dict(config), f"the model takes {own:,} tokens as it is"
    told = _rotary(config)
    if own is None or told is None:
        raise InputError("the model's config.json names no rotary embeddings", fix="use a model that has them")
    scaled, why = _scaled(told.get("full_attention", told), own, context, rope)
    parameters = {**told, "full_attention": scaled} if "full_attention" in told else scaled
    kept = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling")}
    return kept | {"rope_parameters": parameters, "max_position_embeddings": context}, why


def _rotary(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rotary settings as transformers 5 has them, from either spelling; by kind of layer where there are two."""
    if told := config.get("rope_parameters"):
        return dict(told)
    if "rope_theta" not in config and not config.get("rope_scaling"):
        return None
    plain = {"rope_type": "default", "rope_theta": float(config.get("rope_theta") or 10_000.0)}
    scaling = {"rope_type" if key == "type" else key: v for key, v in (config.get("rope_scaling") or {}).items()}
    if config.get("model_type") == "olmo3":
        return {"full_attention": plain | scaling, "sliding_attention": plain}
    return plain | scaling


def _scaled(told: Mapping[str, Any], own: int, context: int, rope: Rope) -> tuple[dict[str, Any], str]:
    kind = told.get("rope_type", "default")
    chosen = {"default": "abf", "yarn": "yarn"}.get(kind) if rope == "auto" else rope
    if kind not in _KNOWN.get(chosen or "", ()):
        raise InputError(
            f"`data.rope: {rope}` cannot lengthen rotary embeddings that are scaled by `{kind}`{nearest(kind, _KNOWN)}",
            fix="keep to the context that the model has",
        )
    if chosen == "yarn":
        original = int(told.get("original_max_position_embeddings") or own)
        kept = {key: value for key, value in told.items() if key != "attention_factor"}  # it follows from the factor
        found = {"rope_type": "yarn", "factor": context / original, "original_max_position_embeddings": original}
        return kept | found, f"YaRN, {context / original:g} x {original:,} tokens (arXiv 2309.00071)"
    base = float(told["rope_theta"])
    raised = float(f"{base * (context / own) ** RISE:.3g}")
    return {**told, "rope_theta": raised}, f"base frequency from {base:,.0f} to {raised:,.0f} (ABF, arXiv 2309.16039)"


_KNOWN = {"abf": ("default",), "yarn": ("default", "yarn")}
"""Way of lengthening -> scalings that it can start from."""
