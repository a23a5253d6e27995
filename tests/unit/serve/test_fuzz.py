"""What `/openapi.json` says is true of every route, for whatever schemathesis thinks of.

`FUZZ_EXAMPLES=200 python -m pytest tests/unit/serve/test_fuzz.py` looks longer, in two minutes.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from scripted import ADMIN, TOKEN, Stage

from bloomery.core.errors import InputError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3"))
"""For each route, beside those that schemathesis derives from the schema."""
SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
)


async def swap(model: str) -> None:
    if model != "ember":
        raise InputError(f"`{model}` is no model")


STAGE = Stage(swap=swap)
HEADERS = {"host": "localhost", "authorization": f"Bearer {TOKEN}"}
schema = schemathesis.openapi.from_asgi("/openapi.json", STAGE.app, headers=HEADERS)


def asked(case: Any) -> Any:
    """The response to a case. One that is to be answered names a model that is there, which no schema can say."""
    mode = case.meta.generation.mode if case.meta else None
    if mode is not None and mode.is_positive:
        if isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "ember"
        if case.path_parameters and "name" in case.path_parameters:
            case.path_parameters["name"] = "ember"
    admin = {"authorization": f"Bearer {ADMIN}"} if case.path.startswith("/admin") else {}
    return case.call(headers=HEADERS | admin)


@schema.parametrize()
@settings(SETTINGS, max_examples=EXAMPLES)
def test_schemathesis_finds_nothing(case: Any) -> None:
    response = asked(case)
    # too long is a rejection too, but not to schemathesis
    checks = [one for one in CHECKS if response.status_code != 413 or one is not negative_data_rejection]
    case.validate_response(response, checks=checks)
    assert STAGE.desk.gate.taken == 0 and STAGE.service.open == []


@pytest.mark.parametrize("route", ["chat/completions", "completions", "responses", "embeddings"])
def test_some_of_what_schemathesis_thinks_of_is_answered(route: str) -> None:
    cases = schema[f"/v1/{route}"]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    any_one = settings(SETTINGS, phases=[Phase.generate])  # not the smallest
    hypothesis.find(cases, lambda case: asked(case).status_code == 200, settings=any_one)
