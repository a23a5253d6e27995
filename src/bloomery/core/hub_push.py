"""Putting a folder on the Hugging Face Hub: private unless asked, never over what is there unless asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.hub import endpoint, faults, forbidden, page, patient, reason
from bloomery.core.secret import Secret

REPLACED = ["*.safetensors", "*.safetensors.index.json"]
"""Files of an updated repository that go where the new folder lacks them: old shards would be loaded with the new."""


def push_folder(folder: Path, repo: str, token: Secret, *, update: bool, public: bool, message: str) -> str:
    """Put every file of `folder` into the model repository `repo` as one commit; its hash.

    A new repository is private unless `public`; one that is there is refused unless `update`, and keeps who may see
    it. Raises `InputError` that names what stands against it: a dead or forbidden Hub, a token without the right, a
    repository that is there, or changed meanwhile.
    """
    from huggingface_hub import HfApi

    if forbidden():
        raise InputError(
            f"`{repo}` cannot be pushed: the network is forbidden", fix="unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
        )
    api = HfApi(endpoint=endpoint(), token=token.reveal(), library_name="bloomery")
    made = False
    try:
        head = _head(api, repo)
        if head is not None and not update:
            raise InputError(f"{page('model', repo)} is there already", fix="add --update, or choose another name")
        if head is None:
            patient(lambda: api.create_repo(repo, private=not public, exist_ok=True))
            made = True
        sent = patient(
            lambda: api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=message,
                delete_patterns=REPLACED if head is not None else None,
                parent_commit=head,
            )
        )
    except InputError:
        raise
    except faults() as error:
        raise _refusal(repo, error, token, made) from None
    except ValueError as error:  # a card that the Hub does not take
        raise _refusal(repo, error, token, made) from None
    return str(sent.oid)


def _head(api: Any, repo: str) -> str | None:
    """The commit that a repository is at, None where there is none (or none that this token may see)."""
    from huggingface_hub import errors

    try:
        return str(patient(lambda: api.repo_info(repo)).sha)
    except errors.GatedRepoError:
        raise
    except errors.RepositoryNotFoundError as error:
        if getattr(error.response, "status_code", 404) == 401 and not _known(api):
            raise
        return None


def _known(api: Any) -> bool:
    """Whether the Hub knows the token: it answers 401 for a repository that is not there, too."""
    try:
        patient(api.whoami)
    except faults():
        return False
    return True


def _refusal(repo: str, error: Exception, token: Secret, made: bool) -> InputError:
    """What to tell where the Hub does not take a folder."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    again = f"; {page('model', repo)} is made and empty: run again with --update" if made else ""
    if isinstance(error, errors.HFValidationError):
        return InputError(f"`{repo}` is no name of a repository: {reason(error)}", fix="write `hf:owner/name`")
    if status == 401:
        return InputError(f"the Hub does not know the access token in {token.env}", fix="make one that may write")
    if status == 403:
        owner = repo.partition("/")[0]
        fix = f"give it the right to write to `{owner}`, or choose another owner{again}"
        return InputError(f"the access token in {token.env} may not write to `{repo}`", fix=fix)
    if status in (409, 412):
        return InputError(
            f"`{repo}` was changed while it was being pushed to: {reason(error)}", fix="look, and run again"
        )
    return InputError(
        f"`{repo}` cannot be pushed to the Hub: {reason(error)}", fix=f"check your network, and run again{again}"
    )
