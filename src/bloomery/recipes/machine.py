"""What this machine has, found out without torch: memory, bf16, cores, GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

CPU_BF16, CPU_FP32 = 200e9, 90e9
"""Multiply-adds x 2 a second and core in matrix products: half of what two AVX-512 cores gave (415 and 178 GFLOP/s)."""

CPU_EFFICIENCY, GPU_EFFICIENCY = 0.35, 0.4
"""Part of the matrix peak that training reaches."""

GPU_PEAK = {
    "H200": 989e12,
    "H100": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40": 181e12,
    "L4": 121e12,
    "4090": 165e12,
}
"""Dense bf16 FLOP/s by a part of the name (vendor's figures)."""

GPU_PEAK_UNKNOWN = 60e12


@dataclass(frozen=True, slots=True)
class Machine:
    """`memory` is what is free for a run, in bytes, None where the system does not say; `flops` a training estimate."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory: int | None
    bf16: bool
    flops: float


def this_machine(device: str = "auto", precision: str = "auto") -> Machine:
    """The device a run would train on; `device` cpu or cuda overrules what is found."""
    gpu = _gpu() if device != "cpu" else None
    if gpu is not None:
        name, free = gpu
        peak = next((flops for part, flops in GPU_PEAK.items() if part in name), GPU_PEAK_UNKNOWN)
        return Machine("cuda", name, free, precision != "fp32", peak * GPU_EFFICIENCY)
    bf16 = _native_bf16() if precision == "auto" else precision == "bf16"
    cores = physical_cores()
    rate = (CPU_BF16 if bf16 and _native_bf16() else CPU_FP32) * cores * CPU_EFFICIENCY
    return Machine("cpu", f"{cores} CPU core{'s' * (cores != 1)}", available_bytes(), bf16, rate)


@lru_cache(maxsize=1)
def _gpu() -> tuple[str, int] | None:
    """(name, free bytes) of the first NVIDIA GPU; None without a driver. Asking takes 50 ms, torch a second."""
    if not Path("/proc/driver/nvidia/gpus").is_dir() or not (tool := shutil.which("nvidia-smi")):
        return None
    ask = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=5, check=True).stdout
        name, free = answer.splitlines()[0].rsplit(",", 1)
        return name.strip(), int(free) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def available_bytes() -> int | None:
    """Memory that is free for us: the system's, or what is left of the control group's limit."""
    found = [free for free in (_system_free(), _group_free()) if free is not None]
    return min(found, default=None)


def _system_free() -> int | None:
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _group_free(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return max(0, int(limit) - used) if limit.isdigit() else None


def usable_cores() -> int:
    """Cores this process may use, hyper-threads counted each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once where the system tells."""
    usable = usable_cores()
    try:
        with open("/proc/cpuinfo") as file:
            rows = [line.split(":")[1].strip() for line in file if line.startswith(("physical id", "core id"))]
        distinct = len(set(zip(rows[::2], rows[1::2], strict=False)))
    except (OSError, IndexError):
        distinct = 0
    return min(usable, distinct) if distinct else usable


@lru_cache(maxsize=1)
def _native_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself: the question `train/precision.py` asks, without torch."""
    try:
        with open("/proc/cpuinfo") as file:
            return "bf16" in next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
