"""`report_to`: the figures of a run in the tracker people already use, under the names they know from Hugging Face.

A tracker is a listener of the loop. Each is imported only when asked for, writes to disk here unless the user
has pointed it elsewhere (its own environment variables), and never decides whether a run goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from bloomery.core.errors import InputError, nearest
from bloomery.core.secret import scrub

_REWARDS = {
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
}
"""As TRL calls them."""

HF_NAMES = {
    "step": {
        "loss": "train/loss",
        "learning_rate": "train/learning_rate",
        "grad_norm": "train/grad_norm",
        "tokens": "train/num_input_tokens_seen",
        "tokens_per_second": "train/tokens_per_second",
        "mfu": "train/mfu",
        "waited": "train/data_wait_seconds",
        "policy_entropy": "train/entropy",
        "policy_clipped": "train/clip_ratio/region_mean",
        **{ours: f"train/{theirs}" for ours, theirs in _REWARDS.items()},
    },
    "rollouts": {
        "reward": "train/reward",
        "reward_std": "train/reward_std",
        "level_groups": "train/frac_reward_zero_std",
        "length": "train/completions/mean_length",
        "cut_off": "train/completions/clipped_ratio",
        "turns": "train/turns",
        "unscorable": "train/unscorable",
        "length_correlation": "train/reward_length_correlation",
        "overlong_penalty": "train/overlong_penalty",
        "resampled_groups": "train/resampled_groups",
        "kl_start": "train/kl",
        "rewards_wait": "train/rewards_wait",
        "judge_drift": "train/judge_drift",
        "sampling_s": "train/sampling_seconds",
        "grading_s": "train/grading_seconds",
        "held_reward": "eval/reward",
        "held_pass_1": "eval/pass@1",
        "held_pass_k": "eval/pass@k",
    },
    "validate": {
        "loss": "eval/loss",
        "bits_per_byte": "eval/bits_per_byte",
        **{ours: f"eval/{theirs}" for ours, theirs in _REWARDS.items()},
    },
}
"""Our figure's name by event, and the one trackers show."""


class Tracker(Protocol):
    """One open run in a tracker."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send figures under the names trackers show."""

    def close(self) -> None:
        """Flush and end the tracker's run."""


class _MLflow:
    def __init__(self, run: str, folder: Path, config: Mapping[str, Any]) -> None:
        self._mlflow = _import("mlflow", "mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self._mlflow.set_tracking_uri((folder / "mlruns").resolve().as_uri())
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "bloomery"))
        self._mlflow.start_run(run_name=run)
        self._mlflow.log_params(flat(config))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Wandb:
    def __init__(self, run: str, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = _import("wandb", "wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bloomery"),
            name=run,
            dir=str(folder),
            config=dict(config),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class _Tensorboard:
    def __init__(self, run: str, folder: Path, config: Mapping[str, Any]) -> None:
        _import("tensorboard", "tensorboard")
        writer = _import("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._writer = writer(log_dir=os.environ.get("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard" / run)))
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in flat(config).items()))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Trackio:
    def __init__(self, run: str, folder: Path, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
        self._trackio = _import("trackio", "trackio")
        self._trackio.init(project=os.environ.get("TRACKIO_PROJECT", "bloomery"), name=run, config=flat(config))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(figures), step=step)

    def close(self) -> None:
        self._trackio.finish()


TRACKERS: dict[str, Callable[[str, Path, Mapping[str, Any]], Tracker]] = {
    "mlflow": _MLflow,
    "wandb": _Wandb,
    "tensorboard": _Tensorboard,
    "trackio": _Trackio,
}


_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # mlflow-skinny has no other store on disk
    "WANDB_ERROR_REPORTING": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
"""Environment of the trackers where the user has set nothing: no reports about the user, files on this disk."""


class Trackers:
    """All trackers of a run, as one listener: `TrainJob(listeners=[trackers])`; `close` at the end."""

    def __init__(self, names: Sequence[str], run: str, folder: Path, config: Mapping[str, Any]) -> None:
        """Open every tracker named. Raises `InputError` for an unknown name or a package that is not installed."""
        for name in names:
            if name not in TRACKERS:
                raise InputError(f"`report_to: {name}` is no tracker we know{nearest(name, TRACKERS)}")
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._open: list[Tracker] = []
        try:
            for name in names:
                self._open.append(TRACKERS[name](run, folder, config))
        except BaseException:
            self.close()
            raise

    def __call__(self, event: str, step: int, figures: Mapping[str, float]) -> None:
        """Pass on the figures of one event that trackers have a name for; non-finite ones too."""
        kind, _, of = event.partition(" ")
        known = HF_NAMES.get(kind, {})
        named = {_named(known[name], of): value for name, value in figures.items() if name in known}
        if kind == "rollouts":
            named |= {f"train/{_part(name)}": value for name, value in figures.items() if name.startswith("reward/")}
        if named:
            for tracker in list(self._open):
                self._attempt(tracker, lambda tracker=tracker: tracker.log(named, step))  # type: ignore[misc]

    def close(self) -> None:
        """End every tracker's run."""
        for tracker in list(self._open):
            self._attempt(tracker, tracker.close)
        self._open.clear()

    def _attempt(self, tracker: Tracker, call: Callable[[], None]) -> None:
        """A tracker that fails is left out from then on, and says so once: hours of training outweigh a plot."""
        try:
            call()
        except Exception as error:
            self._open.remove(tracker)
            kind = type(tracker).__name__.lstrip("_")
            sys.stderr.write(f"warning: {kind} failed and gets no more figures: {scrub(str(error))}\n")


def _part(name: str) -> str:
    """`reward/form` is `rewards/form/mean`, as TRL has it."""
    return f"rewards/{name.removeprefix('reward/')}/mean"


def _named(figure: str, of: str) -> str:
    """`eval/loss` of held-out rows called `wiki` is `eval/wiki_loss`, as Hugging Face's Trainer has it."""
    group, _, name = figure.partition("/")
    return f"{group}/{of}_{name}" if of else figure


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested configuration as dotted keys; what is no number or text is written as text."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, str | int | float | bool) else str(value)
    return found


def _import(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"`report_to: {extra}` needs a package that is not installed ({error.name or module})",
            fix=f"pip install 'bloomery[{extra}]'",
        ) from None
