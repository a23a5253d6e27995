"""A Hub on this machine: models and data sets from folders, served by the protocol that the Hub's own client speaks."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

JSON = {"content-type": "application/json"}


@dataclass
class Hub:
    """Models and data sets by `owner/name`; `commits` by (repository, revision); gated ones open to one token.

    `asked` is every file that was fetched, by its path in the repository, `sent` the bytes of them. `cards` are what
    the descriptions of data sets begin with. `broken` are the statuses of the next answers, whatever is asked for;
    while `dead`, every answer is 503; `slow` is how many seconds each takes. `unknown` is what else was asked for.
    """

    models: dict[str, Path]
    commits: dict[tuple[str, str], str]
    gated: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: list[int] = field(default_factory=list)
    dead: bool = False
    slow: float = 0.0
    sent: int = 0
    requests: int = 0
    unknown: list[str] = field(default_factory=list)


def names(folder: Path) -> list[str]:
    """Every file below a folder, as a repository names it."""
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer while the block runs; `hub.address` is for `HF_ENDPOINT`."""

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.requests += 1
            time.sleep(hub.slow)
            if hub.dead or hub.broken:
                self.reply(503 if hub.dead else hub.broken.pop(0), b"{}", {})
                return
            path = unquote(self.path.partition("?")[0]).replace("/api/datasets/", "/api/models/")
            if "/tree/" in path:
                self.files(path.removeprefix("/api/models/").partition("/tree/")[0])
            elif path.startswith("/api/models/"):
                repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
                self.about(repo, revision or "main")
            elif "/resolve/" in path:
                repo, _, rest = path[1:].removeprefix("datasets/").partition("/resolve/")
                self.file(repo, *rest.split("/", 1))
            else:
                hub.unknown.append(path)
                self.reply(404, b"{}", {})

        def about(self, repo: str, revision: str) -> None:
            if self.closed(repo):
                return
            commit = hub.commits.get((repo, revision))
            if commit is None:
                self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            siblings = [{"rfilename": name} for name in names(hub.models[repo])]
            told = {"id": repo, "sha": commit, "siblings": siblings, "cardData": hub.cards.get(repo, {})}
            self.reply(200, json.dumps(told).encode(), JSON)

        def files(self, repo: str) -> None:
            folder = hub.models[repo]
            found = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0" * 40}
                for name in names(folder)
            ]
            self.reply(200, json.dumps(found).encode(), JSON)

        def file(self, repo: str, commit: str, name: str) -> None:
            if self.closed(repo):
                return
            data = (hub.models[repo] / name).read_bytes()
            etag, status = hashlib.sha256(data).hexdigest(), 200
            if wanted := self.headers.get("range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                data, status = data[int(first) : int(last) + 1 if last else None], 206
            if self.command == "GET":
                hub.asked.append(name)
                hub.sent += len(data)
            self.reply(status, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

        def closed(self, repo: str) -> bool:
            if repo not in hub.models:
                self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return True
            if repo in hub.gated and self.headers.get("authorization") != f"Bearer {hub.gated[repo]}":
                self.reply(401, b"{}", {"X-Error-Code": "GatedRepo"})
                return True
            return False

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                with suppress(BrokenPipeError):  # of a client that did not wait
                    self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
