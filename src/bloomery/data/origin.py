"""Where a source that is read in part lies: its files, at one commit of the Hub or as a bucket has them now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, Any

from bloomery.core.errors import InputError
from bloomery.core.hub import address_parts
from bloomery.core.secret import Secret
from bloomery.data.bites import File
from bloomery.data.buckets import listed, open_object
from bloomery.data.config import SourceSpec
from bloomery.data.hubfiles import Dataset, dataset, matching, members, open_file


@dataclass(frozen=True, slots=True)
class Origin:
    """The files of a source. `pins` are the keys of the source that fix it at the commit it has now."""

    files: tuple[File, ...]
    licence: str | None = None
    pins: dict[str, Any] = field(default_factory=dict)


def look(spec: SourceSpec) -> Origin:
    """Ask where a remote source lies. Raises `InputError` for what is not there, closed, or cannot be reached."""
    if spec.hf:
        found = dataset(spec.hf, spec.revision, spec.token)
        names = members(found, spec.config, spec.split)
        return Origin(_files(found, names), found.licence, {"revision": found.commit})
    files: dict[str, File] = {}
    licences: set[str] = set()
    paths: list[str] = []
    for path in spec.paths:
        if not path.startswith("hf://"):
            files |= {address: File(address, size, version) for address, size, version in listed(path)}
            paths.append(path)
            continue
        repo, revision, pattern = address_parts(path)
        found = dataset(repo, revision, spec.token)
        names = files_of(found, path, pattern)
        files |= {file.address: file for file in _files(found, names)}
        licences |= {found.licence} if found.licence else set()
        paths.append(f"hf://{repo}@{found.commit}/{pattern}")
    pins = {"path": paths if isinstance(spec.path, list) else paths[0]} if paths != spec.paths else {}
    return Origin(tuple(files.values()), ", ".join(sorted(licences)) or None, pins)


def files_of(found: Dataset, path: str, pattern: str) -> list[str]:
    """The files of a data set that an address stands for by its pattern. Raises `InputError` where there is none."""
    names = matching(found.sizes, pattern)
    if not names:
        raise InputError(f"`path: {path}` matches no file of the dataset", fix="check the file's name")
    return names


def open_remote(file: File, token: Secret | None) -> IO[bytes]:
    """A remote file, read as far as it is looked at."""
    if not file.address.startswith("hf://"):
        return open_object(file.address, file.version)
    repo, commit, name = address_parts(file.address)
    return open_file(repo, str(commit), name, file.size, token)


def _files(found: Dataset, names: list[str]) -> tuple[File, ...]:
    return tuple(File(f"hf://{found.repo}@{found.commit}/{name}", found.sizes[name]) for name in names)
