"""Planted secrets: fifty environment variables whose values must turn up nowhere that a run writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

_NAMES = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY",
    "BLOOMERY_TOKEN", "GITHUB_TOKEN", "DATABASE_URL", "PGPASSWORD", "REDIS_URL", "SLURM_JWT", "KUBECONFIG_DATA",
    "TORCH_AUTH_TOKEN", "CUDA_LICENSE_KEY", "NCCL_SECRET", "JUDGE_KEY", "REWARD_SECRET", "SMTP_PASSWORD", "SENTRY_DSN",
    "SESSION_COOKIE",
)  # fmt: skip


def plant() -> dict[str, str]:
    """Fifty variables, known names and unknown ones, each with a value found nowhere else."""
    names = [*_NAMES, *(f"PLANTED_{number}" for number in range(50 - len(_NAMES)))]
    return {name: f"canary{number:02d}-{hash_free(name)}" for number, name in enumerate(names)}


def hash_free(name: str) -> str:
    """A stable odd-looking suffix: Python's own `hash` changes from run to run."""
    return "".join(f"{(ord(letter) * 7 + place) % 36:x}" for place, letter in enumerate(name))[:12]


def leaked(canaries: Mapping[str, str], folders: Iterable[Path], texts: Iterable[str] = ()) -> list[str]:
    """Names of the canaries found in any file under `folders` (names and bytes) or in `texts`, with where."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            data = path.read_bytes() if path.is_file() else b""
            found += [f"{n} in {path}" for n, value in canaries.items() if value.encode() in data or value in path.name]
    for text in texts:
        found += [f"{name} in output" for name, value in canaries.items() if value in text]
    return found
