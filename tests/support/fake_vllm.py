"""vLLM's routes over the native engine, for tests of what speaks to it; what the real one answers is recorded beside
`tests/unit/engine`."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.models.load import load_model


class FakeVllm:
    """What was asked of it: adapters as they were loaded, and of each answer the adapter and the sampled ids."""

    def __init__(self, folder: Path, token: str) -> None:
        self.engine, self.token, self.lock = NativeEngine(load_model(folder)), token, threading.Lock()
        self.loaded: list[str] = []
        self.most = 0
        """Adapters that were held at once."""
        self.answers: list[tuple[str, str, tuple[int, ...]]] = []
        """(adapter asked for, newest adapter then, ids)."""

    def models(self) -> dict[str, Any]:
        """`/v1/models`."""
        return {"data": [{"id": "model", "max_model_len": self.engine.context}]}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """A reply. Raises `InputError` as vLLM refuses."""
        with self.lock:
            if path == "/v1/load_lora_adapter":
                assert body["lora_name"] not in self.loaded and "load_inplace" not in body
                self.engine.adapters.load(body["lora_name"], Path(body["lora_path"]))
                self.loaded.append(body["lora_name"])
                self.most = max(self.most, len(self.engine.adapters.names))
                return "Success"
            if path == "/v1/unload_lora_adapter":
                return self.engine.adapters.drop(body["lora_name"])
            return self._complete(body)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        name = "" if body["model"] == "model" else body["model"]
        stops = tuple(body["stop_token_ids"]) if "stop_token_ids" in body else None
        sampling = Sampling(
            body["max_tokens"], temperature=body["temperature"], seed=body["seed"], stop_ids=stops,
            top_logprobs=body["logprobs"],
        )  # fmt: skip
        [answer] = self.engine.answer([Request(body["prompt"], sampling, name)])
        self.answers.append((name, self.loaded[-1] if self.loaded else "", answer.ids))
        return {"choices": [choice(answer)]}


def choice(answer: Completion) -> dict[str, Any]:
    """An answer as vLLM tells it."""
    top = [{f"token_id:{token}": logp for token, logp in one} for one in answer.top]
    told = {"token_logprobs": [float(value) for value in answer.logprobs], "top_logprobs": top}
    return {"token_ids": list(answer.ids), "logprobs": told, "finish_reason": answer.finish_reason}


@contextlib.contextmanager
def fake_vllm(folder: Path, token: str = "") -> Iterator[tuple[FakeVllm, str]]:
    """The server and its address."""
    fake = FakeVllm(folder, token)

    class Here(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(200, fake.models())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.headers.get("authorization") != f"Bearer {fake.token}":
                self.send(401, {"error": "Unauthorized"})
                return
            try:
                found = fake.post(self.path, body)
                self.send(200, found, stream=bool(body.get("stream")))
            except InputError as error:
                self.send(400, {"error": {"message": str(error)}})

        def send(self, status: int, value: Any, stream: bool = False) -> None:
            raw = json.dumps(value).encode()
            raw = b"data: " + raw + b"\n\ndata: [DONE]\n\n" if stream else raw
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if stream else "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    httpd = Server(("127.0.0.1", 0), Here)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake, f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
