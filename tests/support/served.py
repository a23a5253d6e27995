"""`bloomery serve` as a process of its own, and a client of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

TOKEN, ADMIN = "token-of-this-test", "admin-of-this-test"
SOURCE = Path(__file__).resolve().parents[2] / "src"


def environment(**more: str) -> dict[str, str]:
    """Ours, with the tokens of the tests."""
    return os.environ | {"PYTHONPATH": str(SOURCE), "BLOOMERY_TOKEN": TOKEN, "BLOOMERY_ADMIN_TOKEN": ADMIN} | more


@contextmanager
def served(*arguments: str, within: Path) -> Iterator[tuple[httpx2.Client, subprocess.Popen[str]]]:
    """A client of a server that has started."""
    command = [sys.executable, "-m", "bloomery.cli", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=within, env=environment()) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = re.search(r":(\d+)/v1$", line.strip())
        assert port, line
        headers = {"authorization": f"Bearer {TOKEN}"}
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port[1]}", headers=headers, timeout=60) as client:
                yield client, process
        finally:
            process.kill()
