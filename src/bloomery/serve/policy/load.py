"""Reading a policy: the file, what it extends, and the floor that is added to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.files import canonical_hash, sha256_file
from bloomery.core.secret import secret_in
from bloomery.core.validation import checked, keys_in
from bloomery.core.yaml import laid_over, load_yaml
from bloomery.graders.load import NOTHING, Given
from bloomery.serve.policy.schema import Category, Policy

if TYPE_CHECKING:
    from bloomery.serve.policy.guard import PolicyGuard
    from bloomery.serve.policy.whole import Ask

TEMPLATES = Path(__file__).parent / "templates"
FLOOR = Path(__file__).parent / "floor.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked policy: `floor` and `policy.categories` are what guards, `where` the place of every dotted key."""

    policy: Policy
    floor: Mapping[str, Category]
    where: Mapping[str, Where]
    path: Path
    hash: str

    def place(self, key: str) -> Where:
        """Where `key`, or the nearest section around it, was set."""
        return _place(self.where, key, self.path)


def load_policy(path: Path | str) -> Loaded:
    """Read, extend and check a policy file, or a shipped template by name.

    Raises `InputError` with file and line for unknown keys, values that cannot work, and for whatever would lower the
    floor.
    """
    file = find_policy(path)
    data, where = _read(file.resolve(), ())

    def place(told: str) -> Where:
        keys = keys_in(told) if " " in told else [told]
        return next((where[key] for key in keys if key in where), _place(where, keys[0] if keys else "", file))

    policy = checked(Policy, data, place)
    if not policy.categories:
        message = "has no categories of its own; the floor guards without any policy"
        raise InputError(message, where=Where(file, 1), fix="add `categories`, or `extends:` a template")
    marked = canonical_hash([policy.model_dump(mode="json"), load_yaml(FLOOR)[0], _contents(policy)])
    return Loaded(policy, floor(), where, file, marked)


def _contents(policy: Policy) -> dict[str, str]:
    """The hash of every file that the policy names, where it is there: word lists and heads."""
    detectors = [detector for category in policy.categories.values() for detector in category.detectors]
    named = [Path(own.words) for own in detectors if isinstance(own.words, str)]
    named += [Path(own.head, "head.json") for own in detectors if own.head is not None]
    named += [Path(own.head, "head.safetensors") for own in detectors if own.head is not None]
    return {str(path): sha256_file(path) for path in named if path.is_file()}


def load_guard(
    path: Path, log: Callable[[dict[str, Any]], None], ask: Ask | None = None, given: Given = NOTHING
) -> PolicyGuard:
    """The guard that the policy at `path` describes.

    `log` is called with every decision; `ask` puts a question to the served model, for policies that use `ask`; `given`
    knows judges of this machine by name. Raises `InputError` with file and line for a policy that cannot guard.
    """
    from bloomery.serve.policy.guard import PolicyGuard

    return PolicyGuard(load_policy(path), log, ask, given)


def floor_guard(log: Callable[[dict[str, Any]], None]) -> PolicyGuard:
    """The floor alone, which guards an endpoint without a policy."""
    from bloomery.serve.policy.guard import PolicyGuard

    return PolicyGuard(Loaded(Policy(), floor(), {}, FLOOR, canonical_hash(load_yaml(FLOOR)[0])), log)


def find_policy(name: Path | str) -> Path:
    """The file of a policy given by path, or by the name of a shipped template."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = TEMPLATES / f"{name}.yaml"
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1 and shipped.is_file():
        return shipped
    raise InputError(
        f"there is no policy `{name}`{nearest(str(name), templates())}", fix="give a file, or a template's name"
    )


def templates() -> list[str]:
    """Names of the shipped templates."""
    return sorted(path.stem for path in TEMPLATES.glob("*.yaml"))


@lru_cache(maxsize=1)
def floor() -> Mapping[str, Category]:
    """The categories that no policy lowers."""
    data, lines = load_yaml(FLOOR)
    return checked(Policy, data, lambda key: Where(FLOOR, lines.get(key, 1))).categories


def _read(file: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, Where]]:
    """The mapping of a policy file over those of the policies it extends."""
    if file in chain:
        cycle = " > ".join(p.name for p in (*chain[chain.index(file) :], file))
        raise InputError(f"`extends` goes round in a circle: {cycle}", where=Where(file), fix="remove one `extends`")
    data, lines = load_yaml(file)
    if not isinstance(data, dict):
        raise InputError("is no mapping of keys", where=Where(file, 1), fix="see `bloomery policy templates`")
    where = {key: Where(file, line) for key, line in lines.items()}
    _refuse_below_floor(data, where)
    _refuse_secret(data, "", where, file)
    merged: dict[str, Any] = {}
    places: dict[str, Where] = {}
    named = data.get("extends") or []
    for name in [named] if isinstance(named, str) else named if isinstance(named, list) else []:
        above, found = _read(_parent(name, file, where["extends"]), (*chain, file))
        above = {key: value for key, value in above.items() if key not in ("extends", "name", "bounds")}
        merged, places = laid_over(merged, above), places | found
    _refuse_nothing_taken(data, merged, where)
    data = _with_groups(data, merged.get("groups"), where)
    return laid_over(merged, _anchored(data, file.parent)), {key: w for key, w in places.items() if key} | where


def _refuse_below_floor(data: Mapping[str, Any], where: Mapping[str, Where]) -> None:
    """Whatever a file says of the floor would lower it, or would only seem to raise it."""
    categories = data.get("categories")
    named = [name for name in categories if name in floor()] if isinstance(categories, dict) else []
    keys = [key for key in data if key.startswith("floor")] + [f"categories.{name}" for name in named]
    if keys:
        raise InputError(
            f"`{keys[0]}` belongs to the floor (child safety, privacy), which no policy changes: not its action, its "
            "detectors or exceptions, and it cannot be removed",
            where=where.get(keys[0]),
            fix=f"remove `{keys[0]}`; for a stricter rule add a category under a name of your own",
        )


def _refuse_nothing_taken(data: Mapping[str, Any], above: Mapping[str, Any], where: Mapping[str, Where]) -> None:
    """`NAME: null` for a name that nothing above has is a slip, and the category that was meant would stay."""
    own, known = data.get("categories"), above.get("categories") or {}
    for name in [name for name, value in own.items() if value is None] if isinstance(own, dict) else []:
        if name not in known:
            said = f"`categories.{name}: null` takes away a category that is not there"
            key = f"categories.{name}"
            raise InputError(
                f"{said}{nearest(str(name), known)}", where=where.get(key), fix=f"rename or remove `{key}`"
            )


def _with_groups(data: dict[str, Any], above: Any, where: Mapping[str, Where]) -> dict[str, Any]:
    """The mapping with the names in `near` replaced by their lists: a file means what it says, whoever extends it."""
    groups = (above if isinstance(above, dict) else {}) | (
        data["groups"] if isinstance(data.get("groups"), dict) else {}
    )

    def replaced(value: Any, key: str) -> Any:
        if isinstance(value, list):
            return [replaced(inner, f"{key}.{place}") for place, inner in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found = {name: replaced(inner, f"{key}.{name}") for name, inner in value.items()}
        if isinstance(value.get("near"), list):
            found["near"] = [_group(entry, groups, where.get(key)) for entry in value["near"]]
        return found

    return data | {"categories": replaced(data["categories"], "categories")} if "categories" in data else data


def _group(entry: Any, groups: Mapping[str, Any], where: Where | None) -> Any:
    if not isinstance(entry, str):
        return entry
    if entry not in groups:
        said = f"there is no group `{entry}`{nearest(entry, groups)}"
        raise InputError(said, where=where, fix="name one of `groups`, or write a list")
    return groups[entry]


def _refuse_secret(value: Any, key: str, where: Mapping[str, Where], file: Path) -> None:
    """A secret typed into a policy would be shown by `check` and lie in whatever keeps the file."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inner:
        _refuse_secret(below, f"{key}.{name}".lstrip("."), where, file)
    if isinstance(value, str) and (variable := secret_in(value)):
        said = f"`{key}` holds the value of the environment variable {variable}"
        raise InputError(said, where=_place(where, key, file), fix=f"write `{{env: {variable}}}` where a key takes it")


def _parent(name: Any, file: Path, where: Where) -> Path:
    beside = file.parent / str(name)
    if beside.is_file():
        return beside.resolve()
    try:
        return find_policy(str(name)).resolve()
    except InputError as error:
        raise InputError(f"`extends: {name}`: {error.message}", where=where, fix=error.fix) from None


def _anchored(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The mapping with the files that its detectors name made absolute."""
    categories = data.get("categories")
    if not isinstance(categories, dict):
        return data
    return data | {"categories": {name: _anchored_category(own, folder) for name, own in categories.items()}}


def _anchored_category(category: Any, folder: Path) -> Any:
    if not isinstance(category, dict) or not isinstance(category.get("detectors"), list):
        return category
    return category | {"detectors": [_anchored_detector(own, folder) for own in category["detectors"]]}


def _anchored_detector(detector: Any, folder: Path) -> Any:
    if not isinstance(detector, dict):
        return detector
    found = dict(detector)
    for key in ("words", "head"):
        if isinstance(found.get(key), str):
            found[key] = str(folder / found[key])
    for key in ("grader", "judge", "label_model", "endpoint"):
        if isinstance(found.get(key), dict) and isinstance(found[key].get("path"), str):
            found[key] = found[key] | {"path": str(folder / found[key]["path"])}
    return found


def _place(where: Mapping[str, Where], key: str, file: Path) -> Where:
    parts = key.split(".")
    around = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((where[known] for known in around if known in where), Where(file, 1))
