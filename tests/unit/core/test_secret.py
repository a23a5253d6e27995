from __future__ import annotations

import copy
import json
import pickle

import pytest
from pydantic import BaseModel, ValidationError

from bloomery.core.errors import InputError
from bloomery.core.secret import Secret, scrub, tuning_environment

CANARY = "canary-5f1c0a77"


class Endpoint(BaseModel):
    key: Secret


def test_a_secret_is_read_only_when_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret("JUDGE_KEY")
    with pytest.raises(InputError, match="JUDGE_KEY is not set"):
        secret.reveal()
    monkeypatch.setenv("JUDGE_KEY", CANARY)
    assert secret.reveal() == CANARY


def test_no_way_of_writing_a_secret_down_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", CANARY)
    endpoint = Endpoint(key=Secret("JUDGE_KEY"))
    written = [
        repr(endpoint),
        str(endpoint.key),
        f"{endpoint.key}",
        endpoint.model_dump_json(),
        str(endpoint.model_dump()),
    ]
    assert all(CANARY not in text and "JUDGE_KEY" in text for text in written)
    with pytest.raises(TypeError):
        pickle.dumps(endpoint.key)
    with pytest.raises(TypeError):
        json.dumps(endpoint.key)
    assert copy.deepcopy(endpoint) == endpoint


def test_a_saved_secret_is_read_back_by_name() -> None:
    endpoint = Endpoint.model_validate({"key": {"env": "JUDGE_KEY"}})
    assert Endpoint.model_validate_json(endpoint.model_dump_json()) == endpoint
    assert Endpoint.model_json_schema()["properties"]["key"]["required"] == ["env"]


@pytest.mark.parametrize("value", [CANARY, {"env": CANARY + "!"}, {"env": "A", "b": 1}, 7])
def test_a_secret_typed_into_a_recipe_is_refused_without_repeating_it(value: object) -> None:
    with pytest.raises(InputError) as refusal:
        Secret.parse(value)
    assert CANARY not in str(refusal.value)
    with pytest.raises(ValidationError) as wrapped:
        Endpoint.model_validate({"key": value})
    assert CANARY not in wrapped.value.errors(include_input=False)[0]["msg"]


def test_only_variables_that_change_the_computation_are_recorded() -> None:
    environ = {
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_TOKEN": CANARY,
        "TORCH_AUTH_TOKEN": CANARY,
        "HOME": "x",
    }
    assert tuning_environment(environ) == {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "2"}


def test_scrubbing_hides_the_longest_value_first_and_leaves_short_ones() -> None:
    environ = {"API_KEY": "abcdefgh", "API_KEY_2": "abcdefgh-more", "DB_PASSWORD": "prod", "PLAIN": "visible-value"}
    assert scrub("abcdefgh-more abcdefgh prod visible-value", environ) == "[hidden] [hidden] prod visible-value"
