"""`bloomery doctor`: the traps of an installation, each with the one line that removes it.

Facts about the machine are gathered once, without importing torch; every check is a function of them alone.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Literal

Level = Literal["problem", "warning", "note"]

_GB = 1e9
_LOW_DISK = 5 * _GB
_SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written to
_LOW_SHARED = 1 * _GB
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*?>=\s*([0-9.]+)")
_NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}  # x86 and Arm names in /proc/cpuinfo


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap: `problem` stops or breaks runs, `warning` costs time or space, `note` is good to know."""

    check: str
    level: Level
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at. Sizes in bytes; None where the system does not tell."""

    python: tuple[int, int]
    versions: Mapping[str, str]
    floors: Mapping[str, str]
    environ: Mapping[str, str]
    site_packages: Path | None
    byte_code: bool
    cuda_build: bool
    gpu: bool
    cpu_flags: frozenset[str]
    cores: int
    compiler: str | None
    free_disk: int | None
    free_shared: int | None
    hf_home_writable: bool


def diagnose(folder: Path | None = None, *, import_torch: bool = False) -> list[Finding]:
    """All findings for this installation, problems first; `folder` is where runs will be written.

    Takes some tens of milliseconds. With `import_torch` the libraries are really imported too, which takes
    seconds and finds whatever else breaks them.
    """
    facts = gather(folder or Path.cwd())
    found = [finding for check in CHECKS for finding in check(facts)]
    if import_torch:
        found += _imports()
    order: dict[Level, int] = {"problem": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def gather(folder: Path) -> Facts:
    """Look at this machine and installation."""
    floors = _floors()
    torch = _torch_folder()
    return Facts(
        python=sys.version_info[:2],
        versions=_versions([*floors, "torchvision", "torchaudio"]),
        floors=floors,
        environ=os.environ,
        site_packages=torch.parent if torch else None,
        byte_code=torch is None or Path(util.cache_from_source(str(torch / "__init__.py"))).is_file(),
        cuda_build=torch is not None and any((torch / "lib").glob("libtorch_cuda*")),
        gpu=Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None,
        cpu_flags=_cpu_flags(),
        cores=os.cpu_count() or 1,
        compiler=shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"),
        free_disk=_free(folder),
        free_shared=_free(_SHARED) if _SHARED.is_dir() else None,
        hf_home_writable=_writable(Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()),
    )


def _python(facts: Facts) -> Iterator[Finding]:
    if not (3, 11) <= facts.python < (3, 14):
        what = f"Python {facts.python[0]}.{facts.python[1]} is outside 3.11 to 3.13"
        yield Finding("python", "problem", what, "python3.13 -m venv .venv, and install there")


def _floor(facts: Facts) -> Iterator[Finding]:
    for name, floor in facts.floors.items():
        installed = facts.versions.get(name)
        fix = f"pip install '{name}>={floor}'"
        if installed is None:
            yield Finding("versions", "problem", f"{name} is not installed", fix)
        elif _number(installed) < _number(floor):
            what = f"{name} {installed} is older than {floor}, the first release that works and has no known hole"
            yield Finding("versions", "problem", what, fix)


def _companions(facts: Facts) -> Iterator[Finding]:
    """torchvision 0.(m + 15) and torchaudio 2.m are built for torch 2.m, each for one build (CPU, CUDA x) of it."""
    torch = facts.versions.get("torch", "")
    for name, shift in (("torchvision", 15), ("torchaudio", 0)):
        installed = facts.versions.get(name)
        if not torch or installed is None:
            continue
        other_release = _number(installed)[1:2] != tuple(part + shift for part in _number(torch)[1:2])
        if other_release or _build(installed) != _build(torch):
            what = f"{name} {installed} does not fit torch {torch}: `import transformers` may fail"
            yield Finding("companions", "problem", what, f"pip uninstall -y {name}   # Bloomery does not need it")


def _byte_code(facts: Facts) -> Iterator[Finding]:
    if not facts.byte_code:
        why = " and PYTHONDONTWRITEBYTECODE keeps it so" if facts.environ.get("PYTHONDONTWRITEBYTECODE") else ""
        what = f"torch has no compiled byte code{why}: every start takes two to three times as long"
        yield Finding("byte-code", "warning", what, f"python -m compileall -q -j 0 {facts.site_packages}")


def _torch_build(facts: Facts) -> Iterator[Finding]:
    torch = facts.versions.get("torch")
    if torch and facts.cuda_build and not facts.gpu:
        what = f"torch {torch} is a CUDA build of several GB, and there is no NVIDIA GPU here"
        yield Finding(
            "torch-build", "warning", what, "reinstall torch from PyTorch's CPU index, as its install page says"
        )
    if torch and facts.gpu and not facts.cuda_build:
        what = f"torch {torch} is a CPU build, and there is an NVIDIA GPU here"
        yield Finding(
            "torch-build", "warning", what, "reinstall torch from PyTorch's CUDA index, as its install page says"
        )


def _bf16(facts: Facts) -> Iterator[Finding]:
    if not facts.gpu and facts.cpu_flags and not facts.cpu_flags & _NATIVE_BF16:
        what = "this processor does not multiply bf16 natively: training runs in fp32, at about half the speed"
        yield Finding("bf16", "note", what, "nothing to install; `precision: auto` already chooses fp32")


def _threads(facts: Facts) -> Iterator[Finding]:
    threads = facts.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) < facts.cores and not facts.gpu:
        what = f"OMP_NUM_THREADS is {threads} on {facts.cores} cores: training on the CPU leaves the others idle"
        yield Finding("threads", "note", what, "unset OMP_NUM_THREADS")


def _space(facts: Facts) -> Iterator[Finding]:
    if facts.free_disk is not None and facts.free_disk < _LOW_DISK:
        what = f"{facts.free_disk / _GB:.1f} GB of disk are free where runs are written"
        yield Finding("disk", "warning", what, "free some, or give another folder with --folder")
    if facts.free_shared is not None and facts.free_shared < _LOW_SHARED:
        what = f"{facts.free_shared / _GB:.2f} GB of shared memory are free: processes that exchange tensors may die"
        yield Finding("shared-memory", "warning", what, "in a container, start it with --shm-size=8g")


def _compiler(facts: Facts) -> Iterator[Finding]:
    if facts.gpu and facts.compiler is None:
        what = "there is no C compiler, which torch.compile needs on a GPU"
        yield Finding("compiler", "warning", what, "apt-get install -y gcc")


def _hub(facts: Facts) -> Iterator[Finding]:
    for old in ("TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if old in facts.environ:
            yield Finding(
                "hub", "warning", f"{old} is set, which transformers 5 ignores", f"unset {old}; export HF_HOME=..."
            )
    if facts.environ.get("USE_HUB_KERNELS", "0").upper() not in ("0", "FALSE", "NO", "OFF"):
        what = "USE_HUB_KERNELS lets a model's configuration fetch and run compiled code"
        yield Finding("hub", "problem", what, "export USE_HUB_KERNELS=0")
    if not facts.hf_home_writable:
        what = "the Hugging Face cache (HF_HOME) cannot be written to: nothing can be fetched"
        yield Finding("hub", "warning", what, "export HF_HOME=a folder you may write to")


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _python,
    _floor,
    _companions,
    _byte_code,
    _torch_build,
    _bf16,
    _threads,
    _space,
    _compiler,
    _hub,
)


def _floors() -> dict[str, str]:
    """Lowest versions our own metadata asks for, extras left out; empty when running from an uninstalled checkout."""
    try:
        requirements = metadata.requires("bloomery") or []
    except metadata.PackageNotFoundError:
        return {}
    parsed = (_REQUIREMENT.match(line) for line in requirements if "extra ==" not in line)
    return {match.group(1).lower(): match.group(2) for match in parsed if match}


def _versions(names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _torch_folder() -> Path | None:
    try:
        return Path(str(metadata.distribution("torch").locate_file("torch")))
    except metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> frozenset[str]:
    """Feature flags of the first core where Linux lists them, else none."""
    path = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not path.exists():
        return frozenset()
    lines = path.read_text(errors="replace").splitlines()
    return frozenset(
        next((line.split(":", 1)[1] for line in lines if line.lower().startswith(("flags", "features"))), "").split()
    )


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def _writable(folder: Path) -> bool:
    return os.access(_existing(folder), os.W_OK)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _number(version: str) -> tuple[int, ...]:
    """The release part of a version as numbers: '2.13.0+cpu' is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-z]", version, maxsplit=1)[0]))


def _build(version: str) -> str:
    """The build of a version, 'cpu' or 'cu130'; '' where it does not say."""
    return version.partition("+")[2]


def _imports() -> Iterator[Finding]:
    """Really import what a run needs; transformers loads lazily, so a class is asked for as well."""
    for name, attribute in (("torch", "nn"), ("transformers", "LlamaForCausalLM"), ("peft", "LoraConfig")):
        try:
            getattr(import_module(name), attribute)
        except Exception as error:  # whatever it is, the user should read it here rather than an hour later
            reason = (str(error).splitlines() or [""])[0]
            what = f"`from {name} import {attribute}` fails: {type(error).__name__}: {reason}"
            yield Finding("imports", "problem", what, f"pip install --force-reinstall {name}")
