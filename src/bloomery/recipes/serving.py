"""The verb `serve`: a model by name behind an endpoint, or asked by a file."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.events import EventLog
from bloomery.core.files import verify_ours
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.find import find_model
from bloomery.recipes.opening import opened
from bloomery.recipes.start import RUNS

if TYPE_CHECKING:
    from bloomery.graders.ask import Ask
    from bloomery.graders.load import Given
    from bloomery.models.load import Loaded
    from bloomery.serve.access import Access
    from bloomery.serve.batch import Counted
    from bloomery.serve.desk import Desk, Model
    from bloomery.serve.limits import Limits

TOKEN, ADMIN_TOKEN = "BLOOMERY_TOKEN", "BLOOMERY_ADMIN_TOKEN"
FROM_FILE = "_FILE"
"""What is added to a token's variable for a file that holds it: the environment of a process is read by more eyes."""
SHORTEST_TOKEN = 16
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and to whom."""

    model: str
    name: str | None = None
    """What requests call it; the last part of a folder's path where nothing is said."""
    adapters: Mapping[str, str] | None = None
    """Name to a LoRA run or a peft folder."""
    policy: Path | None = None
    log: Path | None = None
    memory: int | None = None
    """Bytes for keys and values; None: as the engine finds right."""
    host: str = "127.0.0.1"
    port: int = 8000
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()


def serve(asked: Serving, limits: Limits, say: Callable[[str], None]) -> None:
    """Serve until told to stop. Raises `InputError` before anything is loaded where it could not work."""
    import asyncio

    from bloomery.serve.app import make_app
    from bloomery.serve.server import free_port
    from bloomery.serve.server import serve as on_socket

    access, made = _access(asked)
    port = free_port(asked.host, asked.port)
    desk = _desk(asked, limits)
    app = make_app(desk, access, _swapping(desk) if access.admin else None)

    def ready() -> None:
        shown = f"[{asked.host}]" if ":" in asked.host else asked.host
        say(f"serving {asked.model} as `{desk.model.name}` on http://{shown}:{port}/v1")
        if note := _unmeasured(find_model(asked.model, fetched=False).run):
            say(note)
        if made:
            say(f"token: {access.token}  (made for this run; set {TOKEN} to choose one)")
        say(f"guarded by the {desk.guarded_by}; {_decisions(asked)}")

    try:
        asyncio.run(on_socket(app, desk, asked.host, port, ready))
    finally:
        desk.service.stop()


def _unmeasured(run: RunFolder | None) -> str:
    """What to know of a run that has weights and no report; it may be at work, or was stopped while it measured."""
    if run is None or run.report().is_file():
        return ""
    return f"the run `{run.name}` has no report yet: what it gained and lost, and whether within `keep`, is not known"


def _decisions(asked: Serving) -> str:
    """Where a person sees what was blocked or masked."""
    kept = f"decisions go to {asked.log}" if asked.log else "--log FILE keeps decisions with their reasons"
    return f"{kept}, /metrics counts them"


def answer_batch(asked: Serving, limits: Limits, source: Path, out: Path, told: Callable[[Counted], None]) -> Counted:
    """Answer the requests of a file; what `out` holds already is not asked again."""
    import asyncio

    from bloomery.serve.access import Access
    from bloomery.serve.app import make_app
    from bloomery.serve.batch import answer_file, read_requests

    for _ in read_requests(source):
        pass  # a line that cannot be asked is told before the model is loaded
    token = secrets.token_urlsafe(24)
    # A refusal would only be asked again: each waits for its places as long as an answer may take.
    desk = _desk(asked, replace(limits, patience=limits.request_seconds))
    app = make_app(desk, Access(token))
    try:
        return asyncio.run(answer_file(app, token, source, out, limits.running, told))
    finally:
        desk.service.stop()


def _access(asked: Serving) -> tuple[Access, bool]:
    """Who may ask, and whether the token was made here. Raises `InputError` for an open door."""
    from bloomery.serve.access import Access

    given, admin = _secret(TOKEN), _secret(ADMIN_TOKEN) or None
    for name, value in ((TOKEN, given), (ADMIN_TOKEN, admin or "")):
        if value and (len(value) < SHORTEST_TOKEN or not value.isascii() or any(c.isspace() for c in value)):
            raise InputError(
                f"{name} is shorter than {SHORTEST_TOKEN} characters, or holds others than ASCII ones without spaces",
                fix=f"export {name}=$(openssl rand -hex 24)",
            )
    if asked.host not in LOOPBACK and not given:
        raise InputError(
            f"`--host {asked.host}` can be reached by others, and no token is set",
            fix=f"export {TOKEN}=$(openssl rand -hex 24), and put TLS in front; or leave out --host",
        )
    hosts = (*LOOPBACK, *asked.hosts) if asked.host in LOOPBACK else tuple(asked.hosts)
    return Access(given or secrets.token_urlsafe(24), admin, hosts, tuple(asked.origins)), not given


def _secret(name: str) -> str:
    """A token from the variable `name`, or from the file that `name`_FILE names; empty where neither is set."""
    place = os.environ.get(name + FROM_FILE, "")
    if not place:
        return os.environ.get(name, "")
    if os.environ.get(name):
        raise InputError(f"both {name} and {name}{FROM_FILE} are set", fix="leave one out")
    try:
        found = Path(place).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{name}{FROM_FILE} names a file that cannot be read: {reason}", where=Where(place)) from None
    if not found:
        raise InputError(f"{name}{FROM_FILE} names an empty file", where=Where(place), fix="put a token into it")
    return found


def _desk(asked: Serving, limits: Limits) -> Desk:
    from bloomery.engine.service import NativeService
    from bloomery.serve.asking import Asking
    from bloomery.serve.desk import Desk

    adapters = {name: _adapter_folder(place) for name, place in (asked.adapters or {}).items()}
    log = EventLog(asked.log, 0o600) if asked.log else None  # under `log_text` it holds what was said

    def write(event: dict[str, Any]) -> None:
        if log is not None:
            log.write(
                str(event.get("event", "policy")), **{k: v for k, v in event.items() if k not in ("event", "time")}
            )

    guard, asking = None, Asking()
    if asked.policy:
        from bloomery.serve.policy.load import load_guard

        guard = load_guard(asked.policy, write, asking, _beside())
    loaded, name = _load(asked.model)
    service = NativeService(loaded, memory=asked.memory, most_waiting=limits.queue)
    desk = asking.desk = Desk(service, _model(loaded, asked.name or name, 0), limits, guard, write)
    for adapter, folder in adapters.items():
        if adapter == desk.model.name:
            raise InputError(f"`--adapter {adapter}=...` has the model's own name", fix="call it something else")
        service.load_adapter(adapter, folder)
    service.start()
    return desk


def _beside() -> Given:
    """Judges of this machine, each loaded with the policy that names it; requests of many threads ask in turn."""
    from bloomery.graders.load import Given
    from bloomery.recipes.judges import Judges

    judges, turn = Judges(), threading.Lock()

    def ask(name: str) -> Ask:
        judges.ask(name)([])  # loads it: what cannot judge is refused before anything is served
        return _alone(judges.ask(name), turn)

    return Given(judges=ask, embedders=lambda name: _alone(judges.embed(name), turn))


def _alone(work: Callable[[Any], Any], turn: threading.Lock) -> Callable[[Any], Any]:
    def alone(given: Any) -> Any:
        with turn:
            return work(given)

    return alone


def _load(model: str) -> tuple[Loaded, str]:
    """(the model, what to call it)."""
    found = find_model(model)
    loaded = opened(found)
    if loaded.tokenizer is None:
        raise InputError("has no tokenizer, so it cannot be asked", where=Where(found.folder))
    return loaded, found.name if not Path(found.name).is_dir() else Path(found.name).resolve().name


def _model(loaded: Loaded, name: str, version: int) -> Model:
    from bloomery.evals.prompts import Prompter
    from bloomery.serve.desk import Model

    mark = verify_ours(loaded.folder) if loaded.folder else None
    digest = hashlib.sha256(f"{mark or loaded.folder} {version}".encode()).hexdigest()
    return Model(name, Prompter(loaded.tokenizer, "auto"), loaded.tokenizer, int(time.time()), f"fp_{digest[:12]}")


def _adapter_folder(place: str) -> Path:
    """The peft folder of a LoRA run by name or folder, or the folder itself."""
    found = next((p for p in (RUNS / place / "adapter", Path(place) / "adapter", Path(place)) if p.is_dir()), None)
    if found is None or not (found / "adapter_config.json").is_file():
        raise InputError(
            f"`{place}` is no LoRA run and no peft folder", fix="train one with `method: lora`, or name a folder"
        )
    verify_ours(found)
    return found


def _swapping(desk: Desk) -> Callable[[str], Any]:
    """Changes what is served to the weights of another model of the same vocabulary, without a pause."""
    import asyncio

    versions = 0

    async def swap(model: str) -> None:
        nonlocal versions
        loaded, _ = await asyncio.to_thread(_load, model)
        if loaded.tokenizer.get_vocab() != desk.model.tokenizer.get_vocab():
            raise InputError(
                f"`{model}` has another vocabulary, which requests under way do not speak", fix="start another server"
            )
        versions += 1
        new = await asyncio.to_thread(_model, loaded, desk.model.name, versions)
        # A request is rendered and submitted by one of the two models: their ids mean the same.
        await asyncio.to_thread(desk.service.swap, loaded)
        desk.model = new

    return swap
