"""Whether what a family file names is on the Hub: branches, tags and commits of every model and curated data set.

Only `bloomery families verify` comes here. No weights are fetched, and no token is used that was not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bloomery.core.errors import InputError
from bloomery.core.hub import SECONDS, Kind, address_parts, endpoint, faults, page, patient, reason
from bloomery.core.secret import Secret
from bloomery.families.registry import Family
from bloomery.families.schema import CuratedSource

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Rows = Callable[["HfApi", CuratedSource, str, str], object]
"""Finds, with a client, a source's files in a data set at a commit; raises `InputError` where there are none."""

State = Literal["present", "missing", "moved", "gated", "unclear", "offline"]
FAULTS: tuple[State, ...] = ("missing", "moved")
"""What is wrong with the family file, not with the network or the account."""
OFFLINE = "the Hub cannot be reached"
_COMMIT_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """What the Hub says of one checkpoint, or of a curated data set, whose `stage` is `mix/source`.

    `commit` is where its revision points now, where that is known.
    """

    family: str
    stage: str
    repo: str
    revision: str
    state: State
    detail: str = ""
    commit: str | None = None
    kind: Kind = "model"

    def __str__(self) -> str:
        said = f": {self.detail}" if self.detail else ""
        return f"{self.family}/{self.stage}  {self.repo}@{self.revision}  {self.state}{said}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as the Hub describes it: the commit of each branch and tag, or why that is not known."""

    refs: dict[str, str]
    state: State = "present"
    detail: str = ""


def verify(families: Iterable[Family], rows: Rows, token: Secret | None = None) -> Iterator[Finding]:
    """A finding for every checkpoint and curated data set on the Hub, in order; each repository is asked for once.

    A data set is there when `rows` finds the source's files in it: a name says nothing of configurations and splits.
    Without `token` the Hub is asked anonymously, whatever is logged in on this machine. `HF_ENDPOINT` names another
    Hub, `HF_HUB_OFFLINE` forbids asking. After the first repository that cannot be reached nothing more is tried.
    """
    hub = Hub(token)
    for family in families:
        for stage, checkpoint in family.file.checkpoints.items():
            if checkpoint.repo is not None and checkpoint.revision is not None:
                found = Finding(family.name, stage, checkpoint.repo, checkpoint.revision, "present")
                yield _compared(found, checkpoint.commit, hub)
        for mix, sources in family.mixes.items():
            for source in sources:
                for repo, revision in _data_sets(source):
                    place = f"{mix}/{source.name}"
                    found = _compared(Finding(family.name, place, repo, revision, "present", kind="dataset"), None, hub)
                    yield _read(found, source, rows, hub) if found.state == "present" else found


def _data_sets(source: CuratedSource) -> list[tuple[str, str]]:
    """(repository, revision) of the Hub's data sets that a source reads."""
    if source.hf:
        return [(source.hf, source.revision or "main")]
    paths = [source.path] if isinstance(source.path, str) else source.path or []
    named = (address_parts(path) for path in paths if path.startswith("hf://"))
    return [(repo, revision or "main") for repo, revision, _ in named]


def _read(found: Finding, source: CuratedSource, rows: Rows, hub: Hub) -> Finding:
    """The finding of a data set that is there, once the source's files have been looked for in it."""
    state, detail = hub.rows(rows, source, found.repo, found.commit or found.revision)
    return replace(found, state=state, detail=detail)


def _compared(found: Finding, pinned: str | None, hub: Hub) -> Finding:
    repository = hub.repository(found.repo, found.kind)
    if repository.state not in ("present", "gated"):
        return replace(found, state=repository.state, detail=repository.detail)
    commit = repository.refs.get(found.revision)
    if commit is None and _is_commit(found.revision):
        return replace(found, state=hub.state_of(found.repo, found.revision, found.kind))
    if commit is None and repository.state == "gated" and not repository.refs:
        return replace(found, state="gated", detail=repository.detail)
    if commit is None:
        return replace(found, state="missing", detail=f"the repository has no such revision{_near(found, repository)}")
    if pinned is not None and pinned != commit:
        detail = f"it was commit {pinned[:12]} and is {commit[:12]}"
        return replace(found, state="moved", detail=detail, commit=commit)
    return replace(found, state=repository.state, detail=repository.detail, commit=commit)


def _is_commit(revision: str) -> bool:
    return len(revision) == _COMMIT_LENGTH and set(revision) <= set("0123456789abcdef")


def _near(found: Finding, repository: Repository) -> str:
    from difflib import get_close_matches

    close = get_close_matches(found.revision, repository.refs, n=1, cutoff=0.5)
    return f" (the nearest is `{close[0]}`)" if close else ""


def _accept(name: str, kind: Kind) -> str:
    return f"accept its licence at {page(kind, name)} and name a token"


class Hub:
    """The Hub's client, with an answer kept for every repository."""

    def __init__(self, token: Secret | None) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint(), token=token.reveal() if token else False)
        self._known: dict[tuple[str, Kind], Repository] = {}
        self._offline: Repository | None = None

    def repository(self, name: str, kind: Kind = "model") -> Repository:
        """The branches and tags of a repository; never raises for what the Hub or the network answers."""
        if self._offline is not None:
            return self._offline
        if (name, kind) not in self._known:
            self._known[name, kind] = self._asked(name, kind)
            if self._known[name, kind].state == "offline":
                self._offline = self._known[name, kind]
        return self._known[name, kind]

    def state_of(self, name: str, commit: str, kind: Kind = "model") -> State:
        """Whether a repository has a commit, which no branch or tag need point at."""
        from huggingface_hub import errors

        try:
            patient(lambda: self._api.repo_info(name, revision=commit, repo_type=kind, timeout=SECONDS))
        except errors.RevisionNotFoundError:
            return "missing"
        except errors.GatedRepoError:
            return "gated"
        except faults():
            return "unclear"
        return "present"

    def rows(self, rows: Rows, source: CuratedSource, name: str, commit: str) -> tuple[State, str]:
        """Whether a data set has files for a source, and what it says where it has none."""
        from huggingface_hub.errors import GatedRepoError

        try:
            rows(self._api, source, name, commit)
        except InputError as error:
            return "missing", error.message
        except GatedRepoError:
            return "gated", _accept(name, "dataset")
        except faults() as error:
            return "unclear", reason(error)
        return "present", ""

    def _asked(self, name: str, kind: Kind) -> Repository:
        from huggingface_hub import errors

        try:
            refs = self._refs(name, kind)
            patient(lambda: self._api.auth_check(name, repo_type=kind))
            return Repository(refs)
        except errors.GatedRepoError:
            told = self._refs_if_told(name, kind)
            return Repository(told, "gated", _accept(name, kind))
        except errors.RepositoryNotFoundError:
            return Repository({}, "missing", "there is no such repository, or it is private")
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            return Repository({}, "unclear", f"the Hub answered {status}")
        except faults() as error:
            return Repository({}, "offline", f"{OFFLINE} ({reason(error)})")

    def _refs(self, name: str, kind: Kind) -> dict[str, str]:
        found: Any = patient(lambda: self._api.list_repo_refs(name, repo_type=kind))
        return {ref.name: ref.target_commit for ref in [*found.branches, *found.tags]}

    def _refs_if_told(self, name: str, kind: Kind) -> dict[str, str]:
        """Branches and tags of a gated repository: the Hub usually tells them, and keeps the files."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return self._refs(name, kind)
        except HfHubHTTPError:
            return {}
