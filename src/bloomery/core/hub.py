"""The Hugging Face Hub's client: online for what the user names, offline for all else; patient, but not for ever."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from bloomery.core.errors import InputError
from bloomery.core.secret import Secret, scrub

WAITS = (1.0, 4.0)
"""Seconds before each further attempt at what failed for a passing reason. Our choice: a hiccup is over by then."""
SECONDS = 30.0
"""Longest wait for the Hub to say anything, in seconds."""
PASSING = (408, 429, 500, 502, 503, 504)
"""Answers after which it may go well the next time."""

_ADDRESS = re.compile(r"hf://(?:datasets/)?(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<name>.+)")

Kind = Literal["model", "dataset"]
Result = TypeVar("Result")


def forbidden() -> bool:
    """Whether the user's environment forbids the network (`HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`)."""
    return bool(os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE"))


def endpoint() -> str | None:
    """Another Hub than the public one, where `HF_ENDPOINT` names it."""
    return os.environ.get("HF_ENDPOINT") or None


def page(kind: Kind, repo: str) -> str:
    """The address of a repository for people, where a licence is accepted."""
    return f"{endpoint() or 'https://huggingface.co'}/{'datasets/' if kind == 'dataset' else ''}{repo}"


def address_parts(path: str) -> tuple[str, str | None, str]:
    """Repository, revision and file or pattern of `hf://owner/name@revision/file`."""
    parts = _ADDRESS.fullmatch(path)
    if parts is None:
        fix = "write `hf://owner/name/file.jsonl`, or use `hf: owner/name`"
        raise InputError(f"`path: {path}` names no file", fix=fix)
    return parts["repo"], parts["revision"], parts["name"]


def reason(error: Exception) -> str:
    """The first line of what the client says, without secrets; the error's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return scrub(lines[0]) if lines else type(error).__name__


@contextmanager
def reachable() -> Iterator[None]:
    """The Hub's client online for what the user named, unless the environment forbids it; offline again after.

    It tells the Hub nothing of this machine meanwhile, and does not ask it which programs there are to tell of.
    """
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = forbidden()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def patient(ask: Callable[[], Result]) -> Result:
    """What `ask` returns of the Hub, asked again after `WAITS` where no answer came or a passing fault.

    Raises what the last attempt raised; at once where the network is forbidden or the Hub has answered for good.
    """
    for wait in (*WAITS, None):
        try:
            with reachable():
                return ask()
        except faults() as error:
            if wait is None or not _passing(error):
                raise
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def faults() -> tuple[type[Exception], ...]:
    """What the client raises: its HTTP library's errors, its refusal of a name or when offline, and system errors."""
    from huggingface_hub import errors

    return (vars(errors)["HTTPError"], errors.HFValidationError, errors.OfflineModeIsEnabled, OSError)


def _passing(error: Exception) -> bool:
    from huggingface_hub import errors

    if forbidden() or isinstance(error, errors.HFValidationError | errors.OfflineModeIsEnabled):
        return False
    answer = getattr(error, "response", None)
    if answer is not None:
        return answer.status_code in PASSING
    local = isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError)
    return not local  # a full disk stays full


def offline(kind: Kind, repo: str, revision: str | None, streamed: bool = False) -> InputError:
    """What to tell of a repository that is not here where the network is forbidden.

    What is `streamed` lies in a cache of ours, into which the Hub's own client puts nothing.
    """
    told = f"{repo} --repo-type dataset" if kind == "dataset" else repo
    told += f" --revision {revision}" if revision else ""
    fix = "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
    fix += "" if streamed else f", or put it there: hf download {told}"
    cache = "the cache" if streamed else "the Hub's cache"
    return InputError(f"`{repo}` is not in {cache}, and the network is forbidden", fix=fix)


def refusal(
    kind: Kind,
    repo: str,
    revision: str | None,
    error: Exception,
    token: Secret | None = None,
    streamed: bool = False,
) -> InputError:
    """What to tell where the Hub does not give a repository: gated, missing, another revision, refused, not there."""
    from huggingface_hub import errors

    thing = "data set" if kind == "dataset" else "model"
    key = f"`token: {{env: {token.env if token else 'HF_TOKEN'}}}`"
    if isinstance(error, errors.GatedRepoError):
        fix = f"accept its licence at {page(kind, repo)}, and name the variable that holds your access token: {key}"
        return InputError(f"the Hub keeps `{repo}` for accounts that accepted its licence", fix=fix)
    if isinstance(error, errors.RevisionNotFoundError):
        message = f"`{repo}` has no revision `{revision or 'main'}`"
        return InputError(message, fix="change `revision` to one of its branches, tags or commits")
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = f"check its name; a private one needs your access token: {key}"
        return InputError(f"the Hub has no {thing} `{repo}`, or it is private", fix=fix)
    if forbidden():
        return offline(kind, repo, revision, streamed)
    answer = getattr(error, "response", None)
    if answer is not None and answer.status_code in (401, 403):
        fix = f"check the access token ({key}) and what it may read; the licence is at {page(kind, repo)}"
        return InputError(f"the Hub does not give `{repo}`: {reason(error)}", fix=fix)
    fix = "check your network and free disk; what is already there is kept, and the next run fetches the rest"
    return InputError(f"the {thing} `{repo}` cannot be fetched from the Hub: {reason(error)}", fix=fix)
