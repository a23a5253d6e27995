"""A vLLM process is started on loopback with a token, watched, and stopped with all that it started."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import httpx2
import pytest

from bloomery.core.errors import BloomeryError, InputError
from bloomery.engine.vllm_command import vllm_command
from bloomery.engine.vllm_server import VllmServer

EMBER = Path(__file__).parents[3] / "families/ember"
FAKE = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
told = dict(zip(sys.argv[1::2], sys.argv[2::2]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
names = [n for n in os.environ if "VLLM" in n or "SECRET" in n or n == "PATH"]
class Here(BaseHTTPRequestHandler):
    def do_GET(self):
        right = self.headers.get("authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
        models = {"data": [{"id": told["--served-model-name"], "max_model_len": 64}]}
        about = {"argv": sys.argv[1:], "env": sorted(names), "child": child.pid}
        self.send_response(200 if right or self.path in ("/health", "/about") else 401)
        self.end_headers()
        self.wfile.write(json.dumps(models if self.path == "/v1/models" else about).encode())
    def log_message(self, *_): pass
print("listening", flush=True)
HTTPServer((told["--host"], int(told["--port"])), Here).serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path) -> list[str]:
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return [sys.executable, str(script)]


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for a little: a killed one is reaped by whoever inherits it."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_server_is_reached_with_its_token_on_loopback_alone(
    tmp_path: Path, fake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "must-not-travel")
    with VllmServer(EMBER / "pretrained", tmp_path / "log", command=fake, adapters=8) as server:
        assert server.engine().context == 64
        assert httpx2.get(server.url + "/v1/models", trust_env=False).status_code == 401
        about = httpx2.get(server.url + "/about", trust_env=False).json()
        told = dict(zip(about["argv"][::2], about["argv"][1::2], strict=False))
        assert (told["--host"], told["--logprobs-mode"]) == ("127.0.0.1", "processed_logprobs")
        assert told["--model"] == str((EMBER / "pretrained").resolve())
        assert json.loads(told["--structured-outputs-config"])["backend"] == "guidance"
        assert "--max-lora-rank" in about["argv"]
        assert server.token not in " ".join(about["argv"])
        assert "A_SECRET" not in about["env"]
        assert {"VLLM_API_KEY", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "PATH"} <= set(about["env"])
        assert "VLLM_SERVER_DEV_MODE" not in about["env"]
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert gone(server.process.pid)
    assert gone(about["child"])


def test_new_weights_are_answered_with_after_an_update(tmp_path: Path, fake: list[str]) -> None:
    with VllmServer(EMBER / "pretrained", tmp_path / "log", command=fake) as server:
        first = httpx2.get(server.url + "/about", trust_env=False).json()
        server.update(EMBER / "posttrained")
        second = httpx2.get(server.url + "/about", trust_env=False).json()
        assert gone(first["child"])
        assert second["argv"][1] == str((EMBER / "posttrained").resolve())
        assert server.alive()
        with pytest.raises(InputError):
            server.update(tmp_path)
        assert server.alive()
    assert not server.alive()


def test_a_server_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no kernel for this GPU')"]
    with pytest.raises(BloomeryError, match=r"(?s)ended with status 1 .*no kernel for this GPU"):
        VllmServer(EMBER / "pretrained", tmp_path / "log", command=command)


def test_a_server_that_never_answers_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}"); print("loading weights", flush=True); time.sleep(600)
"""
    import bloomery.engine.vllm_server as module

    kept, module.GRACE = module.GRACE, 0.3
    try:
        with pytest.raises(BloomeryError, match=r"(?s)did not answer within 1 s.*loading weights"):
            VllmServer(EMBER / "pretrained", tmp_path / "log", command=[sys.executable, "-c", code], patience=1)
    finally:
        module.GRACE = kept
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_what_is_not_installed_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOOMERY_VLLM", raising=False)
    monkeypatch.setattr("bloomery.engine.vllm_command.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="vLLM is not installed here"):
        vllm_command()
    monkeypatch.setenv("BLOOMERY_VLLM", "/nowhere/python -m vllm.entrypoints.openai.api_server")
    assert vllm_command()[1:] == ["-m", "vllm.entrypoints.openai.api_server"]
    with pytest.raises(InputError, match="`/nowhere/python` cannot be started"):
        VllmServer(EMBER / "pretrained", tmp_path / "log")
    assert os.environ["BLOOMERY_VLLM"]
