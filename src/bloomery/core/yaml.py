"""YAML for files that people write: 1.2 scalars, small, without anchors, every key with its line.

Built on ruamel's event stream, because composing first would already have paid for a hostile file:
a 306-byte alias bomb expands to gigabytes, 3,000 nested lists end in a RecursionError.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where

MAX_BYTES = 1_000_000
MAX_DEPTH = 50

Lines = dict[str, int]
"""Dotted key path ("data.domain.0.path") -> line in the file, counted from 1; "" is the document."""

_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


def load_yaml(source: Path | str, where: Path | str | None = None) -> tuple[Any, Lines]:
    """Parse one YAML document from a file (`Path`) or from text (`str`).

    Returns plain dicts, lists and scalars (dates stay text, so that the result is JSON), and the line
    of every key. `where` names text in errors. Raises `InputError` with file and line for a file that
    is missing, over 1 MB, not UTF-8, nested deeper than 50, that repeats a key, uses an anchor, an alias, a
    tag or a merge key, holds several documents, or does not parse.
    """
    name = where if where is not None else (source if isinstance(source, Path) else "<text>")
    return _Reader(name).read(_text(source, name))


def dump_yaml(value: Any) -> str:
    """A JSON value as YAML that `load_yaml` reads back as it was: in blocks, or as JSON where ruamel's writer errs."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = False, MAX_BYTES
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(value, stream)
    try:
        if load_yaml(stream.getvalue())[0] == value:
            return stream.getvalue()
    except InputError:
        pass
    return json.dumps(value, indent=2) + "\n"


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, section by section; lists are replaced, and null takes a key away."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = laid_over(merged[key], value)
        else:
            merged[key] = value
    return merged


def _text(source: Path | str, name: Path | str) -> str:
    if isinstance(source, str):
        data = source.encode("utf-8", "surrogatepass")
    else:
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=Where(name), fix="check the path") from None
    if len(data) > MAX_BYTES:
        raise InputError("is larger than 1 MB", where=Where(name), fix="keep data out of YAML: name a file instead")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError("is not UTF-8", where=Where(name, line), fix="save it as UTF-8") from None


class _Reader:
    """One pass over the events of a document: builds the value and notes the line of every key."""

    def __init__(self, name: Path | str) -> None:
        self.name = name
        self.lines: Lines = {"": 1}
        self.resolver: Any = None

    def read(self, text: str) -> tuple[Any, Lines]:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        yaml = YAML(typ="safe", pure=True)
        self.resolver = yaml.resolver
        try:
            return self._document(yaml.parse(text)), self.lines
        except InputError:
            raise
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise self._unread(error.problem or error.context, line) from None
        except (YAMLError, ValueError) as error:
            raise self._unread(str(error).splitlines()[0], None) from None

    def _unread(self, problem: str | None, line: int | None) -> InputError:
        kind = "JSON" if Path(self.name).suffix == ".json" else "YAML"
        return InputError(f"is not {kind}: {problem}", where=Where(self.name, line))

    def _document(self, events: Iterator[Any]) -> Any:
        from ruamel.yaml.events import DocumentEndEvent, DocumentStartEvent, StreamEndEvent, StreamStartEvent

        value, documents = None, 0
        for event in events:
            if isinstance(event, StreamStartEvent | DocumentEndEvent | StreamEndEvent):
                continue
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse(event, "holds a second document (`---`)", "keep one document in the file")
                continue
            value = self._value(event, events, "", 1)
        return value

    def _value(self, event: Any, events: Iterator[Any], path: str, depth: int) -> Any:
        from ruamel.yaml.events import AliasEvent, MappingStartEvent, SequenceStartEvent

        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise self._refuse(event, "uses an anchor or an alias", "write the value out, or use `extends:`")
        if depth > MAX_DEPTH:
            raise self._refuse(event, f"is nested deeper than {MAX_DEPTH} levels", "flatten it")
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, events, path, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(event, events, path, depth)
        return self._scalar(event)

    def _mapping(self, start: Any, events: Iterator[Any], path: str, depth: int) -> dict[str, Any]:
        from ruamel.yaml.events import MappingEndEvent, ScalarEvent

        self._no_tag(start)
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise self._refuse(event, "has a key that is not a plain word", "write `key: value`")
            key = _joined(str(event.value))
            inner = f"{path}.{key}" if path else key
            if key == "<<" and event.implicit[0]:
                raise self._refuse(event, "uses a merge key `<<`", "write the keys out, or use `extends:`")
            if key in found:
                raise self._refuse(event, f"has the key `{inner}` twice, first on line {self.lines[inner]}", "keep one")
            self.lines[inner] = event.start_mark.line + 1
            found[key] = self._value(next(events), events, inner, depth + 1)
        return found

    def _sequence(self, start: Any, events: Iterator[Any], path: str, depth: int) -> list[Any]:
        from ruamel.yaml.events import SequenceEndEvent

        self._no_tag(start)
        found: list[Any] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            inner = f"{path}.{len(found)}" if path else str(len(found))
            self.lines[inner] = event.start_mark.line + 1
            found.append(self._value(event, events, inner, depth + 1))
        return found

    def _scalar(self, event: Any) -> Any:
        from ruamel.yaml.nodes import ScalarNode

        self._no_tag(event)
        tag = str(self.resolver.resolve(ScalarNode, event.value, event.implicit))
        try:
            return _PLAIN[tag](event.value) if tag in _PLAIN else _joined(event.value)
        except ValueError:
            raise self._refuse(event, f"holds `{event.value}`, which is not a value of its kind", "quote it") from None

    def _no_tag(self, event: Any) -> None:
        tag = None if event.tag is None else str(event.tag)
        if tag is not None and tag not in _CORE_TAGS:
            raise self._refuse(event, f"uses the tag `{tag}`", "remove it: recipes hold plain values only")

    def _refuse(self, event: Any, message: str, fix: str) -> InputError:
        return InputError(message, where=Where(self.name, event.start_mark.line + 1), fix=fix)


def _joined(text: str) -> str:
    r"""Text whose surrogate pairs are characters: JSON, which is YAML 1.2, writes 😀 as `\ud83d\ude00`."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    sign, body = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    base = {"0x": 16, "0o": 8, "0b": 2}.get(body[:2].lower(), 10)
    return int(sign + (body if base == 10 else body[2:]), base)


def _decimal(text: str) -> float:
    plain = text.replace("_", "").lower()
    return float(plain.replace(".inf", "inf").replace(".nan", "nan"))


_PLAIN: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:int": _integer,
    "tag:yaml.org,2002:float": _decimal,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:null": lambda text: None,
}
