"""A run's model on the Hugging Face Hub: weights, tokenizer and card, and nothing that tells of the user's rows."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from bloomery.core.errors import InputError, Where
from bloomery.core.files import MANIFEST, building_folder
from bloomery.core.hub import page
from bloomery.core.hub_push import push_folder
from bloomery.core.secret import Secret, secret_in
from bloomery.recipes.find import find_model
from bloomery.recipes.plan import Plan
from bloomery.recipes.publish import publish_model

SENT = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt",
    "tokenizer.model", "chat_template.jinja", "adapter_config.json", "README.md",
)  # fmt: skip
"""What a model needs. Anything else in its folder stops the push, but for what stays here."""
KEPT = ("data-receipt.json", MANIFEST)
"""What stays here: the receipt counts rows by source, and the manifest is made anew."""
PLACE = re.compile(r"hf:(?P<repo>[^/\s:]+/[^/\s:]+)")


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a model lies on the Hub, and as which commit."""

    repo: str
    commit: str

    def __str__(self) -> str:
        return f"pushed to {page('model', self.repo)}, commit {self.commit}"


def push(run: str, to: str, *, token: str | None = None, update: bool = False, public: bool = False) -> Pushed:
    """Put a run's model into the repository `to` (`hf:owner/name`); `token` is the variable with the access token."""
    place = PLACE.fullmatch(to)
    if place is None:
        raise InputError(f"`--to {to}` names no repository", fix="write `hf:owner/name`")
    found = find_model(run)
    if found.run is None:
        raise InputError(f"`{run}` is no run, and only what a run made has a card to push", fix="name a run")
    secret = Secret(token or "HF_TOKEN")
    secret.reveal()
    with tempfile.TemporaryDirectory() as temporary:
        model = publish_model(found.run, Plan.read(found.run.plan), Path(temporary) / "model")
        folder = sendable(model, Path(temporary) / "sent")
        message = f"{found.run.name}, trained with bloomery"
        commit = push_folder(folder, place["repo"], secret, update=update, public=public, message=message)
    return Pushed(place["repo"], commit)


def sendable(model: Path, target: Path) -> Path:
    """A copy of a model folder with what may leave the machine. Raises `InputError` naming what may not.

    A file that is no part of a model is refused, not skipped: rows or keys that somebody put beside the weights.
    """
    with building_folder(target, {"kind": "model"}) as building:
        for path in sorted(p for p in model.rglob("*") if not p.is_dir()):
            name = path.relative_to(model).as_posix()
            if name in KEPT:
                continue
            if path.is_symlink() or "/" in name or not any(fnmatch(name, pattern) for pattern in SENT):
                raise InputError(
                    f"`{name}` is no part of a model and is not pushed", fix="move it away", where=Where(model)
                )
            if path.suffix != ".safetensors" and (variable := secret_in(path.read_text(errors="replace"))):
                raise InputError(f"`{name}` holds the value of {variable}", fix="remove it", where=Where(model))
            shutil.copyfile(path, building / name)
    return target
