"""How a vLLM server is started here, and what it can be started for; read before anything heavy."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import util

from bloomery.core.errors import InputError

COMMAND = "BLOOMERY_VLLM"
"""Environment variable with the command that starts vLLM's API server, where it lies in an environment of its own."""
MODULE = ("-m", "vllm.entrypoints.openai.api_server")
HOTTEST = 2.0
"""Highest temperature that vLLM takes."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Highest ranks of adapters that vLLM can be started for (its `MaxLoRARanks`)."""


def vllm_command() -> list[str]:
    """How to start vLLM here. Raises `InputError` where it is not installed and `BLOOMERY_VLLM` names none."""
    if given := os.environ.get(COMMAND):
        return shlex.split(given)
    if util.find_spec("vllm") is not None:
        return [sys.executable, *MODULE]
    raise InputError(
        "vLLM is not installed here",
        fix=f"install it in its own environment, and name it: export {COMMAND}='/path/bin/python {' '.join(MODULE)}'",
    )
