"""A scripted gateway in a process of its own: prints its port and serves.

`python rl_server.py FOLDER PORT [PAUSE TASKS]`: seconds between tokens, and how many tasks there are. Each answer is
another one, so that two of them are never taken for one.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from rl_stage import RlStage
from scripted import Scripted

from bloomery.serve.server import free_port, serve


async def main() -> None:
    numbers = count()
    pause, tasks = map(float, sys.argv[3:]) if len(sys.argv) > 3 else (0.0, 8)
    service = Scripted(lambda request: f"Answer {next(numbers)} of {len(request.prompt)}.", pause)
    stage = RlStage(Path(sys.argv[1]), service, tasks=int(tasks))
    port = free_port("127.0.0.1", int(sys.argv[2]))
    await serve(stage.app, stage.gateway, "127.0.0.1", port, lambda: print(port, flush=True))
    stage.journal.close()


if __name__ == "__main__":
    asyncio.run(main())
