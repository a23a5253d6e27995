"""A scripted endpoint in a process of its own: prints its port, serves until it is told to stop.

`python scripted_server.py PAUSE [RUNNING QUEUE SECONDS]`: seconds between tokens, places, the queue before them, and
seconds that an answer may take. Words in capitals in a prompt are stage directions; see `Scenes`.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections import Counter
from typing import Any

from scripted import Held, Scripted, Stage

from bloomery.engine.protocol import Request, Token
from bloomery.serve.limits import Limits
from bloomery.serve.server import free_port, serve

HELLO = "Hello there, all of you."
CALL = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'
ADD, WEATHER = CALL.format("add", '{"a": 2, "b": 3}'), CALL.format("weather", '{"city": "Köln"}')


class Scenes(Scripted):
    """Says hello, but for prompts with a stage direction:

    `ADD` calls `add`, `BOTH` says something and calls two functions, `FORCED` answers what a grammar of one call wants,
    `PERSON` answers JSON, `HALF` half of it, a result of a function is repeated. `FAIL n` fails n times, then answers;
    `BREAK` fails in the middle of an answer. `SLOW` takes 100 times as long.
    """

    def __init__(self, pause: float) -> None:
        super().__init__(self.played, pause)
        self.failed: Counter[str] = Counter()

    def played(self, request: Request) -> Any:
        text = self.tokenizer.decode(request.prompt)
        if found := re.findall(r"<tool_response>\n(.*?)\n</tool_response>", text):
            return f"It is {', '.join(found)}."
        directed = {
            "ADD": ADD,
            "BOTH": f"Let me see.\n{ADD}\n{WEATHER}",
            "FORCED": '{"name":"add","arguments":{"a":2,"b":3}}',
            "PERSON": '{"name":"Ada","born":{"year":1815},"skills":["maths"]}',
            "HALF": '{"name":"Ada","born":{"ye',
            "SLOW": " ".join([HELLO] * 100),
        }
        return next((said for word, said in directed.items() if word in text), HELLO)

    def submit(self, request: Request, told: Any) -> Held:
        text = self.tokenizer.decode(request.prompt)
        if found := re.search(r"FAIL (\d+) \w+", text):
            self.failed[found[0]] += 1
            if self.failed[found[0]] <= int(found[1]):
                return self._broken(Held(request, told), ())
        if "BREAK" in text:
            return self._broken(Held(request, told), self.tokenizer(HELLO, add_special_tokens=False)["input_ids"][:4])
        return super().submit(request, told)

    def _broken(self, held: Held, said: Any) -> Held:
        tokens = [*(Token(token, -0.5) for token in said), Token(-1, 0.0, ended="error", error="as directed")]
        threading.Thread(target=self._slowly, args=(held, tokens), daemon=True).start()
        return held


def main() -> None:
    given = [float(value) for value in sys.argv[1:]]
    pause, running, queue, seconds = [*given, *(0.001, 64, 256, 600)[len(given) :]]
    limits = Limits(int(running), int(queue), body_seconds=1.5, request_seconds=seconds, drain_seconds=5)
    stage = Stage(Scenes(pause), limits)
    port = free_port("127.0.0.1", 0)
    asyncio.run(serve(stage.app, stage.desk, "127.0.0.1", port, lambda: print(port, flush=True)))


if __name__ == "__main__":
    main()
