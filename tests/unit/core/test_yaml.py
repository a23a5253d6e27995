"""Laws of `core/yaml.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.core.yaml import load_yaml


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: 1e-5\nb: no\nc: 012\nd: 12:30:00\ne: 0x1F\nf: ~\ng: true\nh: 2024-01-01\ni: '1'\nj: 30%\non: -4e-3\n"
    data, _ = load_yaml(text)
    assert data == {
        "a": 1e-5, "b": "no", "c": 12, "d": "12:30:00", "e": 31, "f": None, "g": True, "h": "2024-01-01",
        "i": "1", "j": "30%", "on": -4e-3,
    }  # fmt: skip


def test_every_key_knows_its_line() -> None:
    _, lines = load_yaml("family: ember\ndata:\n  domain:\n    - path: a\n    - {path: b}\n  share: 30%\n")
    assert lines["data.share"] == 6
    assert lines["data.domain.0.path"] == 4
    assert lines["data.domain.1"] == 5


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "twice, first on line 1"),
        ("a: &x 1\nb: *x\n", 1, "anchor or an alias"),
        ("a: 1\nb: !python/object x\n", 2, "tag"),
        ("a: !!binary aGk=\n", 1, "tag"),
        ("<<: {a: 1}\n", 1, "merge key"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: [1, 2\nb: 3\n", 2, "not YAML"),
        ("? [a]\n: 1\n", 1, "not a plain word"),
        ("[" * 51 + "]" * 51, 1, "nested deeper than 50"),
        ("[" * 3000, 1, "nested deeper than 50"),
    ],
)
def test_a_bad_document_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_yaml(text, "recipe.yaml")
    assert str(caught.value).startswith(f"recipe.yaml:{line}: ")


def test_a_broken_json_file_is_not_called_yaml(tmp_path: Path) -> None:
    (tmp_path / "grader.json").write_text('{"type": "number",\n')
    with pytest.raises(InputError, match=r"grader\.json:2: is not JSON: "):
        load_yaml(tmp_path / "grader.json")


def test_fifty_levels_are_allowed() -> None:
    data, _ = load_yaml("[" * 49 + "1" + "]" * 49)
    for _ in range(49):
        (data,) = data
    assert data == 1


def test_a_file_over_the_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_text("a: " + "x" * 1_000_000)
    with pytest.raises(InputError, match="larger than 1 MB"):
        load_yaml(path)


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(InputError, match=r"latin.yaml:2: is not UTF-8"):
        load_yaml(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "gone.yaml")


def test_an_empty_file_is_none() -> None:
    assert load_yaml("")[0] is None
