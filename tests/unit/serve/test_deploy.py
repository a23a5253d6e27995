"""Files for deployment name what is there, and let nobody in."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from bloomery.cli import app
from bloomery.core.yaml import load_yaml

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "bloomery.service"


def test_every_file_that_the_image_copies_is_there() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []


def test_commands_use_options_that_the_verb_has() -> None:
    verb = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {option for parameter in verb.params for option in parameter.opts}
    texts = (
        UNIT.read_text().split("ExecStart=")[1].partition("\n")[0],
        (DEPLOY / "Dockerfile").read_text().split("ENTRYPOINT")[1],
    )
    used = {option for text in texts for option in re.findall(r"--[a-z-]+", text)}
    assert {"--host", "--port"} <= used <= known


def test_compose_publishes_on_loopback_and_asks_for_a_token() -> None:
    service = load_yaml(DEPLOY / "compose.yaml")[0]["services"]["bloomery"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "BLOOMERY_TOKEN:?" in service["environment"]["BLOOMERY_TOKEN"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_no_token_is_shipped() -> None:
    assert re.search(r"^BLOOMERY_TOKEN=$", (DEPLOY / "bloomery.env.example").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit() -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert ours == [], done.stderr
