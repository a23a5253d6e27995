"""Reading a recipe: the file, what it extends, `key=value` overrides, and errors that name the line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.resources import recipes_dir
from bloomery.core.secret import secret_in
from bloomery.core.validation import checked, keys_in
from bloomery.core.yaml import dump_yaml, laid_over, load_yaml
from bloomery.recipes.data_section import absolute, as_sources
from bloomery.recipes.schema import Recipe

COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked recipe with what it was made from.

    `data` is the merged mapping, `where` the place of every dotted key in it, `base` the folder that
    relative paths are relative to.
    """

    recipe: Recipe
    data: dict[str, Any]
    where: dict[str, Where]
    base: Path
    path: Path | None

    @property
    def name(self) -> str:
        """The run's name: `name`, else the file's."""
        return self.recipe.name or (self.path.stem if self.path else "recipe")

    def text(self) -> str:
        """The recipe as one YAML file that means the same anywhere: extended, overridden, its paths absolute."""
        return dump_yaml({key: v for key, v in _anchored(self.data, self.base).items() if key != "extends"})

    def place(self, key: str) -> Where | None:
        """Where `key`, or the nearest section around it, was set."""
        return place_of(self.where, key)


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe given by path, or by the name of a shipped one (`demo`)."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = recipes_dir() / f"{name}.yaml"
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1 and shipped.is_file():
        return shipped
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    known = [p.stem for p in recipes_dir().glob("*.yaml")]
    raise InputError(f"there is no recipe `{name}`{nearest(str(name), known)}", fix="give a file, or a shipped name")


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Loaded:
    """Read, extend, override and check a recipe. Raises `InputError` naming file, line and key."""
    file = find_recipe(path)
    data, where = _read(file, ())
    return _checked(data, where, overrides, file.resolve().parent, file)


def recipe_from(data: Mapping[str, Any], overrides: Iterable[str] = (), base: Path | None = None) -> Loaded:
    """The same for a mapping made in Python; relative paths are relative to `base`, or the working folder."""
    return _checked(dict(data), {}, overrides, base or Path.cwd(), None)


def with_changes(loaded: Loaded, changes: Mapping[str, Any]) -> Loaded:
    """The recipe with `changes` (nested, or with dotted keys) laid over it, as a pipeline's step asks for."""
    data = loaded.data
    for key, value in changes.items():
        data = laid_over(data, _nest(key.split("."), value))
    return _checked(data, loaded.where, (), loaded.base, loaded.path)


def with_overrides(loaded: Loaded, overrides: Iterable[str]) -> Loaded:
    """The recipe with further `key=value` overrides."""
    return _checked(loaded.data, dict(loaded.where), overrides, loaded.base, loaded.path)


def _checked(
    data: dict[str, Any], where: dict[str, Where], overrides: Iterable[str], base: Path, path: Path | None
) -> Loaded:
    for text in overrides:
        data = override(data, where, text)
    _refuse_secret(data, where, path)

    def place(told: str) -> Where | None:
        found = _named(where, told) if " " in told else place_of(where, told)
        return found or (Where(path) if path else None)

    recipe = checked(Recipe, data, place)
    return Loaded(recipe, data, where, base, path)


def _refuse_secret(data: dict[str, Any], where: Mapping[str, Where], path: Path | None) -> None:
    """A secret typed into a recipe would be copied into the run folder, with the plan and everywhere they go."""
    for key, value in _leaves(data, ""):
        if isinstance(value, str) and (name := secret_in(value)):
            place = place_of(where, key) or (Where(path) if path else None)
            message = f"`{key}` holds the value of the environment variable {name}"
            raise InputError(message, where=place, fix=f"write `{{env: {name}}}`, where the key takes a secret")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, scalar) of everything below a value."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield key, value
    for name, below in inner or ():
        yield from _leaves(below, f"{key}.{name}".lstrip("."))


def _read(file: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, Where]]:
    """The mapping of a recipe file over that of the recipe it extends."""
    file = file.resolve()
    if file in chain:
        cycle = " > ".join(p.name for p in (*chain[chain.index(file) :], file))
        raise InputError(f"`extends` goes round in a circle: {cycle}", where=Where(file), fix="remove one `extends`")
    data, lines = load_yaml(file)
    if not isinstance(data, dict):
        what = "is empty" if data is None else "is not a mapping of keys"
        raise InputError(
            f"{what}: a recipe is a list of `key: value` lines", where=Where(file, 1), fix="see `bloomery init`"
        )
    where = {key: Where(file, line) for key, line in lines.items()}
    parent = data.get("extends")
    if parent is None:
        return data, where
    other = _parent(parent, file, where["extends"])
    above, places = _read(other, (*chain, file))
    if other.resolve().parent != file.parent:
        above = _anchored(above, other.resolve().parent)
    return laid_over(above, data), {key: w for key, w in places.items() if key} | where


def _parent(name: Any, file: Path, where: Where) -> Path:
    beside = file.parent / str(name)
    if beside.is_file():
        return beside
    try:
        return find_recipe(str(name))
    except InputError as error:
        raise InputError(
            f"`extends: {name}`: {error.message}", where=where, fix="give a path relative to this file"
        ) from None


def _anchored(value: Any, folder: Path) -> Any:
    """A copy of a recipe from another folder, whose relative file paths are made absolute."""
    data: dict[str, Any] = dict(value)
    if isinstance(data.get("model"), str) and (folder / data["model"]).is_dir():
        data["model"] = str(folder / data["model"])
    empty = data.get("scaffold")
    if isinstance(empty, dict) and isinstance(empty.get("tokenizer"), str):
        data["scaffold"] = {**empty, "tokenizer": str(folder / Path(empty["tokenizer"]).expanduser())}
    if isinstance(data.get("steps"), list):
        data["steps"] = [_anchored_step(step, folder) for step in data["steps"]]
    if isinstance(data.get("eval"), str | list):
        data["eval"] = {"domain": data["eval"]}
    for section, key in (("data", "domain"), ("data", "curated"), ("eval", "domain")):
        inner = data.get(section)
        if isinstance(inner, dict) and isinstance(inner.get(key), str | list) and not _is_word(key, inner[key]):
            data[section] = {**inner, key: [_anchored_source(s, folder) for s in as_sources(inner[key])]}
    judged = data.get("eval")
    if isinstance(judged, dict) and isinstance(judged.get("grader"), dict):
        data["eval"] = {**judged, "grader": _anchored_source(judged["grader"], folder)}
    rolled = data.get("rollouts")
    if isinstance(rolled, dict) and isinstance(rolled.get("environment"), dict):
        data["rollouts"] = {**rolled, "environment": anchored_environment(rolled["environment"], folder)}
    return data


def anchored_environment(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An environment's file and interpreter in full; a link stays a link, as a venv's interpreter is one."""
    file, colon, name = str(told.get("type", "")).rpartition(":")
    whole = {"type": f"{folder / Path(file).expanduser()}{colon}{name}"} if file.endswith(".py") else {}
    python = told.get("python")
    return {**told, **whole, **({"python": str(folder / Path(python).expanduser())} if python else {})}


def _anchored_step(step: Any, folder: Path) -> Any:
    changes = step.get("set") if isinstance(step, dict) else None
    if not isinstance(changes, dict):
        return step
    anchored = {}
    for key, value in changes.items():  # a key may be dotted
        found = _anchored(_nest(key.split("."), value), folder)
        for part in key.split("."):
            found = found[part]
        anchored[key] = found
    return {**step, "set": anchored}


def _is_word(key: str, value: Any) -> bool:
    return key == "curated" and isinstance(value, str)


def _anchored_source(source: Any, folder: Path) -> Any:
    return absolute(source, folder) if isinstance(source, dict) else source


def override(data: dict[str, Any], where: dict[str, Where], text: str) -> dict[str, Any]:
    """A copy of `data` changed by `key=value`; `where` learns where the key was set."""
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InputError(
            f"`{text}` is no override", where=Where(COMMAND_LINE), fix="write `key=value`, such as `data.share=30%`"
        )
    value, _ = load_yaml(raw, COMMAND_LINE)
    for known in [k for k in where if k == key or k.startswith(f"{key}.")]:
        del where[known]
    where[key] = Where(COMMAND_LINE)
    changed: dict[str, Any] = _set(data, key.split("."), value)
    return changed


def _set(data: Any, parts: list[str], value: Any) -> Any:
    """A copy of `data` with the item at `parts` replaced; a number goes into a list."""
    if not parts:
        return value
    head, rest = parts[0], parts[1:]
    if isinstance(data, list):
        if not head.isdigit() or int(head) >= len(data):
            raise InputError(
                f"`{head}` is no place in a list of {len(data)}", where=Where(COMMAND_LINE), fix="count from 0"
            )
        return [_set(item, rest, value) if place == int(head) else item for place, item in enumerate(data)]
    below = data if isinstance(data, dict) else {}
    if value is None and not rest:
        return {key: item for key, item in below.items() if key != head}
    return {**below, head: _set(below.get(head), rest, value)}


def _nest(parts: list[str], value: Any) -> dict[str, Any]:
    return {parts[0]: _nest(parts[1:], value) if len(parts) > 1 else value}


def place_of(where: Mapping[str, Where], key: str) -> Where | None:
    """Where a key was written, else what lies beneath or around it."""
    beneath = (place for known, place in where.items() if known.startswith(f"{key}."))
    if key not in where and (found := next(beneath, None)) is not None:
        return found  # an override of something in a section that the file does not have
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if (found := where.get(".".join(parts[:length]))) is not None:
            return found
    return where.get("")


def _named(where: Mapping[str, Where], message: str) -> Where | None:
    """Where the keys were set that a message about the whole recipe names; the command line before a file."""
    places = [where[key] for key in keys_in(message) if key in where]
    told = [place for place in places if place.path == COMMAND_LINE]
    return next(iter([*told, *places]), where.get(""))
