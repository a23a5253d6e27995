"""A scripted endpoint in a process of its own: prints its port, serves until it is told to stop.

`python scripted_server.py PAUSE [RUNNING QUEUE]`: seconds between tokens, places, and the queue before them.
"""

from __future__ import annotations

import asyncio
import sys

from scripted import Scripted, Stage

from bloomery.serve.limits import Limits
from bloomery.serve.server import free_port, serve


def main() -> None:
    pause, running, queue = (float(value) for value in [*sys.argv[1:], "64", "256"][:3])
    limits = Limits(running=int(running), queue=int(queue), body_seconds=1.5, drain_seconds=5)
    stage = Stage(Scripted(lambda request: "Hello there, all of you.", pause), limits)
    port = free_port("127.0.0.1", 0)
    asyncio.run(serve(stage.app, stage.desk, "127.0.0.1", port, lambda: print(port, flush=True)))


if __name__ == "__main__":
    main()
