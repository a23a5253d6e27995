"""A tokenizing process: `python -m bloomery.data.worker`, batches of rows in, token ids out.

Its own program rather than `multiprocessing`: nothing is pickled, a script without a `__main__` guard
is not run again, and no thread of torch or of the tokenizer is forked. It ends when its input ends,
so that killing the reader leaves no process behind.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.data.prepare import Preparation
from bloomery.data.render import Renderer
from bloomery.data.shapes import Columns
from bloomery.data.wire import batch_in, block_out, error_out, receive, send


def serve() -> None:
    """Answer messages on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the reader decides
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    job, _ = receive(source)
    renderer = Renderer(Path(job["folder"]), job["template"])
    columns = Columns(job["shape"], job["by_role"], (), job["as_text"], job["signals"])
    prepare = Preparation(renderer, columns, job["skip"])
    while True:
        try:
            batch, lines = receive(source)
        except EOFError:
            return
        try:
            value, arrays = block_out(prepare(batch_in(batch, *lines)))
            send(sink, value, *arrays)
        except InputError as error:
            send(sink, error_out(error))


if __name__ == "__main__":
    serve()
