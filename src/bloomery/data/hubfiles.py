"""A data set of the Hugging Face Hub: its commit, licence and files, which of them a split is, reading by ranges."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from bloomery.core.errors import InputError, nearest
from bloomery.core.hub import SECONDS, endpoint, faults, patient, reachable, refusal
from bloomery.core.secret import Secret
from bloomery.data.paths import COMPRESSED, FORMATS

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TABLES = tuple(suffix for suffix, kind in FORMATS.items() if kind != "text")
"""Extensions of a data set's rows; text files of its repository are about it."""
BLOCK = 1 << 19
"""Bytes that are asked for at a time: half a megabyte takes about as long as the asking."""
SPLITS = {"train", "test", "validation", "valid", "val", "dev", "eval"}
"""Words in a file's name that say which split it belongs to."""
EVERY = "all"
"""The `split` that stands for every one."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set at one commit; `configs` are those its card declares, `sizes` bytes by file name."""

    repo: str
    commit: str
    licence: str | None
    configs: tuple[Mapping[str, Any], ...]
    sizes: Mapping[str, int]


def dataset(repo: str, revision: str | None, token: Secret | None) -> Dataset:
    """Ask the Hub for a data set. Raises `InputError` where it is gated, missing or cannot be reached."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint(), token=token.reveal() if token else None)
    try:
        return described(api, repo, revision)
    except faults() as error:
        raise refusal("dataset", repo, revision, error, token, streamed=True) from None


def described(api: HfApi, repo: str, revision: str | None) -> Dataset:
    """What a client of the Hub is told of a data set. Raises what the client raises."""
    from huggingface_hub.hf_api import RepoFile

    about = patient(lambda: api.dataset_info(repo, revision=revision, timeout=SECONDS))
    commit = str(about.sha)
    found = patient(lambda: list(api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")))
    card: dict[str, Any] = dict(vars(about.card_data)) if about.card_data else {}
    licence, configs = card.get("license"), card.get("configs")
    declared = tuple(c for c in configs if isinstance(c, Mapping)) if isinstance(configs, list) else ()
    told = ", ".join(map(str, licence)) if isinstance(licence, list) else licence
    return Dataset(repo, commit, told, declared, {f.path: f.size for f in found if isinstance(f, RepoFile)})


def members(found: Dataset, config: str | None, split: str) -> list[str]:
    """The data files of a configuration and split, sorted: as the card declares them, else by their names.

    Where no name holds the word for a split, all files are its `train`. Raises `InputError` that names what there is.
    """
    rows = sorted(name for name in found.sizes if _is_table(name))
    declared = {str(c.get("config_name")): c["data_files"] for c in found.configs if c.get("data_files")}
    if declared and (config is None or config in declared):
        usual = next((str(c["config_name"]) for c in found.configs if c.get("default")), "default")
        chosen = config or (usual if usual in declared else next(iter(declared)) if len(declared) == 1 else None)
        if chosen is None:
            raise InputError(
                f"`hf: {found.repo}` has {len(declared)} configurations, and none of them is the default",
                fix=f"name one by `config` ({_some(declared)}), or files by `path: hf://{found.repo}/FILES`",
            )
        names = _declared(found.repo, declared[chosen], split, rows)
    else:
        placed = [name for name in rows if config is None or name.startswith((f"{config}/", f"data/{config}"))]
        worded = any(SPLITS & _words(name) for name in placed)
        every = split == EVERY or (split == "train" and not worded)
        names = placed if every else [name for name in placed if split in _words(name)]
    if not names:
        where = f" of configuration `{config}`{nearest(config, declared)}" if config else ""
        raise InputError(
            f"`hf: {found.repo}` has no data file for split `{split}`{where}",
            fix=f"look at its files and name one: `path: hf://{found.repo}/FILE`",
        )
    return names


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a glob stands for (`**` crosses folders), sorted; a folder stands for all below it."""
    from fsspec.utils import glob_translate

    whole = re.compile(f"{glob_translate(pattern.rstrip('/'))}|{glob_translate(pattern.rstrip('/') + '/**')}")
    return sorted(name for name in names if whole.match(name))


def _declared(repo: str, entries: Any, split: str, rows: list[str]) -> list[str]:
    """Files by the card's `data_files`: a pattern, several, or a list of splits with theirs."""
    listed = entries if isinstance(entries, list) else [entries]
    parts = [e if isinstance(e, Mapping) else {"split": "train", "path": e} for e in listed]
    known = sorted({str(part.get("split")) for part in parts})
    if split != EVERY and split not in known:
        raise InputError(
            f"`hf: {repo}` has no split `{split}`; it has {_some(known)}",
            fix=f"set `split` to one of them, or to `{EVERY}`",
        )
    chosen = [part.get("path") for part in parts if split in (EVERY, str(part.get("split")))]
    patterns = [p for path in chosen for p in (path if isinstance(path, list) else [path])]
    return sorted({name for pattern in patterns for name in matching(rows, str(pattern))})


def _some(names: Iterable[str]) -> str:
    """The first names, for a message: data sets by language have hundreds."""
    known = sorted(names)
    return ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")


def _is_table(name: str) -> bool:
    path = PurePosixPath(name.lower())
    suffix = PurePosixPath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    return suffix in TABLES and not any(part.startswith(".") for part in path.parts)


def _words(name: str) -> set[str]:
    return set(re.split(r"[/_.\-]", name))


def open_file(repo: str, commit: str, name: str, size: int, token: Secret | None) -> IO[bytes]:
    """A file of a data set, read from the Hub as far as it is looked at; raises `InputError`."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(repo, name, repo_type="dataset", revision=commit, endpoint=endpoint())
    with reachable():
        headers = build_hf_headers(token=token.reveal() if token else None)
    told = partial(refusal, "dataset", repo, commit, token=token, streamed=True)
    return cast("IO[bytes]", io.BufferedReader(_Ranges(url, headers, size, told), BLOCK))


class _Ranges(io.RawIOBase):
    """A file behind an address, fetched by ranges of bytes."""

    def __init__(self, url: str, headers: dict[str, str], size: int, refuse: Callable[[Exception], InputError]) -> None:
        super().__init__()
        self._url, self._headers, self._size, self._refuse = url, headers, size, refuse
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        try:
            data = patient(lambda: self._fetched(self._at, stop))
        except faults() as error:
            raise self._refuse(error) from None
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetched(self, start: int, stop: int) -> bytes:
        from huggingface_hub.utils import hf_raise_for_status, http_backoff  # type: ignore[attr-defined]

        headers = {**self._headers, "range": f"bytes={start}-{stop - 1}"}
        answer = http_backoff("GET", self._url, headers=headers, max_retries=0, timeout=SECONDS)
        hf_raise_for_status(answer)
        data: bytes = answer.content[start:stop] if answer.status_code == 200 else answer.content
        if len(data) != stop - start:
            raise ConnectionError(f"{self._url} gave {len(data):,} bytes of {stop - start:,}")
        return data
