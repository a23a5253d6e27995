"""Whatever a policy file holds, it guards or is refused in our words; and no file leaves the floor out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.core.yaml import dump_yaml
from bloomery.serve.policy.guard import PolicyGuard
from bloomery.serve.policy.load import floor, load_policy
from bloomery.serve.policy.schema import Category, Detector, Policy

NAMES = st.sampled_from(
    [*floor(), *Policy.model_fields, *Category.model_fields, *Detector.model_fields, "floor", "own"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 500),
    st.floats(allow_nan=False),
    st.sampled_from(
        ["block", "allow", "input", "safety", "all", "policy.yaml", "luhn", "(", "a*", "[a-z]{2}", "", "x y"]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
DETECTORS = st.dictionaries(st.sampled_from(sorted(Detector.model_fields)), VALUES, min_size=1, max_size=2)
CATEGORIES = st.fixed_dictionaries(
    {"detectors": st.lists(DETECTORS, max_size=3)},
    optional={name: VALUES for name in Category.model_fields if name != "detectors"},
)
FILES = st.fixed_dictionaries(
    {"categories": st.dictionaries(NAMES, CATEGORIES | VALUES, max_size=2) | VALUES},
    optional={name: VALUES for name in Policy.model_fields if name != "categories"},
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES | VALUES)
def test_a_policy_guards_with_the_floor_or_is_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(dump_yaml(data))
    try:
        guard = PolicyGuard(load_policy(path), lambda event: None)
    except InputError as error:
        assert str(path) in str(error)
        return
    guarding = {category.name: category for category in guard.categories if category.floor}
    assert {name: category.action for name, category in guarding.items()} == {n: c.action for n, c in floor().items()}
    card = [{"role": "user", "content": "4111 1111 1111 1111"}]
    assert guard.check_input(card).action in ("mask", "review", "block")
    assert "4111" not in str(guard.masked(card)) or guard.check_input(card).action == "block"


@pytest.mark.parametrize("name", sorted(floor()))
def test_no_way_of_naming_a_category_of_the_floor_passes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "policy.yaml"
    for value in ("null", "{}", "{action: allow}", "{action: block}", "[]", "off"):
        path.write_text(f"extends: safety\ncategories:\n  {name}: {value}\n")
        with pytest.raises(InputError, match=r"policy\.yaml:3: .*belongs to the floor"):
            load_policy(path)
