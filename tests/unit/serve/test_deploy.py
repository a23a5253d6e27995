"""Files for deployment name what is there, and let nobody in."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from bloomery.cli import app
from bloomery.core.errors import InputError
from bloomery.core.yaml import load_yaml
from bloomery.recipes.serving import Serving, _access

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


def test_compose_publishes_on_loopback_and_takes_the_token_from_a_file() -> None:
    compose = load_yaml(DEPLOY / "compose.yaml")[0]
    service = compose["services"]["bloomery"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["environment"] == {"BLOOMERY_TOKEN_FILE": "/run/secrets/token"} and service["secrets"] == ["token"]
    assert ":?" in compose["secrets"]["token"]["file"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_the_image_runs_as_the_user_that_compose_means_and_without_a_network() -> None:
    image = (DEPLOY / "Dockerfile").read_text()
    [uid] = re.findall(r"--uid (\d+)", image)
    assert (
        f"uid={uid}" in (DEPLOY / "compose.yaml").read_text()
        and f"chown {uid}" in (DEPLOY / "compose.yaml").read_text()
    )
    assert image.index("USER bloomery") < image.index("HEALTHCHECK") < image.index("ENTRYPOINT")
    for text in (image, UNIT.read_text()):
        assert "HF_HUB_OFFLINE=1" in text and "TRANSFORMERS_OFFLINE=1" in text


def test_the_image_has_the_torch_of_the_makefile() -> None:
    [wanted] = re.findall(r"^TORCH \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f'ARG TORCH="{wanted}"' in (DEPLOY / "Dockerfile").read_text()


def test_no_token_is_shipped() -> None:
    texts = [path.read_text() for path in DEPLOY.iterdir()]
    assert not any(re.search(r"BLOOMERY_(ADMIN_)?TOKEN *[=:]", text) for text in texts)


def test_a_token_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "token"
    place.write_text("a-token-of-a-file\n")
    monkeypatch.delenv("BLOOMERY_TOKEN", raising=False)
    monkeypatch.setenv("BLOOMERY_TOKEN_FILE", str(place))
    access, made = _access(Serving("ember", host="0.0.0.0"))
    assert (access.token, made) == ("a-token-of-a-file", False)
    monkeypatch.setenv("BLOOMERY_TOKEN", "another-token-here")
    with pytest.raises(InputError, match="both BLOOMERY_TOKEN and BLOOMERY_TOKEN_FILE"):
        _access(Serving("ember"))


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "cannot be read: No such file"), (" \n", "empty file"), ("short", "shorter")]
)
def test_a_file_without_a_token_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "token").write_text(text)
    monkeypatch.delenv("BLOOMERY_TOKEN", raising=False)
    monkeypatch.setenv("BLOOMERY_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(InputError, match=reason):
        _access(Serving("ember"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit() -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert ours == [], done.stderr
