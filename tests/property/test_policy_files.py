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
LIST = st.lists(st.sampled_from(["zebra", "card", "my card is", "visa*", "4111 1111", "..."]), min_size=1, max_size=3)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "regex": st.sampled_from(["[a-z]{2}", "4111", "(", r"\d{4} ?", "a*"]),
    "words": LIST,
    "near": st.lists(LIST, min_size=2, max_size=3),
    "check": st.sampled_from(["luhn", "iban"]),
    "longest": st.integers(0, 300),
    "fold": st.booleans(),
    "action": st.sampled_from(["block", "mask", "review", "warn", "allow"]),
    "applies": st.sampled_from(["input", "output", "both"]),
    "on_failure": st.sampled_from(["block", "review", "allow"]),
    "allow": st.lists(st.fixed_dictionaries({"text": LIST, "reason": st.just("ours")}), max_size=2),
    "extends": st.sampled_from(["safety", "sensitive", []]),
    "message": st.text(max_size=9),
    "mask": st.sampled_from(["[x]", ""]),
    "log_text": st.booleans(),
}


def likely(key: str) -> st.SearchStrategy[Any]:
    """Mostly a value that the key takes."""
    return st.one_of(*[LIKELY[key]] * 12, VALUES) if key in LIKELY else VALUES


def some(keys: list[str], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping of a few of the keys."""
    chosen = st.lists(st.sampled_from(keys), max_size=most, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: likely(name) for name in names}))


FOUND = st.sampled_from(["regex", "words", "near"]).flatmap(lambda kind: st.fixed_dictionaries({kind: likely(kind)}))
DETECTORS = st.lists(st.one_of(*[FOUND] * 6, some([*LIKELY, *Detector.model_fields], 2)), min_size=1, max_size=2)
CATEGORIES = st.builds(
    lambda detectors, rest: {**rest, "detectors": detectors},
    DETECTORS,
    some(["action", "applies", "on_failure", "allow", "message"], 3),
)
FILES = st.builds(
    lambda categories, rest: {**rest, "categories": categories},
    st.dictionaries(st.one_of(*[st.sampled_from(["own", "other"])] * 8, NAMES), CATEGORIES, min_size=1, max_size=2),
    some(["extends", "message", "mask", "log_text", *Policy.model_fields], 2),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(FILES, FILES, FILES, VALUES))
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
