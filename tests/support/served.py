"""`bloomery serve` as a process of its own, and a client of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx2
from killed import begin

TOKEN, ADMIN = "token-of-this-test", "admin-of-this-test"
TOKENS = {"BLOOMERY_TOKEN": TOKEN, "BLOOMERY_ADMIN_TOKEN": ADMIN}


@contextmanager
def served(*arguments: str, within: Path) -> Iterator[tuple[httpx2.Client, BaseProcess]]:
    """A client of a server that has started."""
    process, said = begin("bloomery", "serve", *arguments, "--port", "0", within=within, **TOKENS)
    try:
        with said:
            line = said.readline()
            port = re.search(r":(\d+)/v1$", line.strip())
            assert port, line
            headers = {"authorization": f"Bearer {TOKEN}"}
            with httpx2.Client(base_url=f"http://127.0.0.1:{port[1]}", headers=headers, timeout=60) as client:
                yield client, process
    finally:
        process.kill()
        process.join()
