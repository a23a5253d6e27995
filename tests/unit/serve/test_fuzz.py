"""What `/openapi.json` says is true of every route, for whatever schemathesis thinks of."""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from scripted import TOKEN, Stage

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3"))
"""For each route, beside those that schemathesis derives from the schema; `bench/serve.py` asks for more."""
STAGE = Stage()


schema = schemathesis.openapi.from_asgi(
    "/openapi.json", STAGE.app, headers={"authorization": f"Bearer {TOKEN}", "host": "localhost"}
)


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_schemathesis_finds_nothing(case: Any) -> None:
    response = case.call(headers={"authorization": f"Bearer {TOKEN}", "host": "localhost"})
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
        unsupported_method,
    ]
    if response.status_code != 413:  # too long is a rejection too, but not to schemathesis
        checks.append(negative_data_rejection)
    case.validate_response(response, checks=checks)
    assert STAGE.desk.gate.taken == 0 and STAGE.service.open == []
