from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bloomery.doctor import CHECKS, Facts, Finding, diagnose

HEALTHY = Facts(
    python=(3, 12),
    versions={"torch": "2.13.0+cpu", "transformers": "5.23.0"},
    floors={"torch": "2.10", "transformers": "5.10.4"},
    environ={},
    site_packages=Path("lib"),
    byte_code=True,
    cuda_build=False,
    gpu=False,
    cpu_flags=frozenset({"avx512_bf16"}),
    cores=2,
    compiler="cc",
    free_disk=10**11,
    free_shared=10**10,
    hf_home_writable=True,
)


def findings(facts: Facts) -> list[Finding]:
    return [finding for check in CHECKS for finding in check(facts)]


def test_a_healthy_machine_has_no_findings() -> None:
    assert findings(HEALTHY) == []


@pytest.mark.parametrize(
    ("facts", "check", "level", "said"),
    [
        (replace(HEALTHY, python=(3, 10)), "python", "problem", "3.10"),
        (replace(HEALTHY, versions={"torch": "2.13.0+cpu"}), "versions", "problem", "transformers is not installed"),
        (
            replace(HEALTHY, versions={**HEALTHY.versions, "transformers": "5.9.1"}),
            "versions",
            "problem",
            "older than 5.10.4",
        ),
        (
            replace(HEALTHY, versions={**HEALTHY.versions, "torchvision": "0.28.0"}),
            "companions",
            "problem",
            "import transformers",
        ),
        (
            replace(HEALTHY, versions={**HEALTHY.versions, "torchaudio": "2.12.0+cpu"}),
            "companions",
            "problem",
            "torchaudio 2.12",
        ),
        (
            replace(HEALTHY, byte_code=False, environ={"PYTHONDONTWRITEBYTECODE": "1"}),
            "byte-code",
            "warning",
            "keeps it so",
        ),
        (replace(HEALTHY, cuda_build=True), "torch-build", "warning", "no NVIDIA GPU"),
        (replace(HEALTHY, gpu=True), "torch-build", "warning", "CPU build"),
        (replace(HEALTHY, cpu_flags=frozenset({"avx2"})), "bf16", "note", "fp32"),
        (replace(HEALTHY, environ={"OMP_NUM_THREADS": "1"}), "threads", "note", "2 cores"),
        (replace(HEALTHY, free_disk=10**9), "disk", "warning", "1.0 GB"),
        (replace(HEALTHY, free_shared=64 * 2**20), "shared-memory", "warning", "0.07 GB"),
        (replace(HEALTHY, gpu=True, cuda_build=True, compiler=None), "compiler", "warning", "torch.compile"),
        (replace(HEALTHY, environ={"TRANSFORMERS_CACHE": "x"}), "hub", "warning", "TRANSFORMERS_CACHE"),
        (replace(HEALTHY, environ={"USE_HUB_KERNELS": "1"}), "hub", "problem", "compiled code"),
        (replace(HEALTHY, hf_home_writable=False), "hub", "warning", "HF_HOME"),
    ],
)
def test_each_trap_is_found_alone_and_has_a_one_line_fix(facts: Facts, check: str, level: str, said: str) -> None:
    found = findings(facts)
    assert [(f.check, f.level) for f in found] == [(check, level)]
    assert said in found[0].what
    assert found[0].fix
    assert "\n" not in found[0].fix


@pytest.mark.parametrize("pair", [("2.13.0+cpu", "0.28.0+cpu"), ("2.11.0+cu130", "0.26.0+cu130"), ("2.10.0", "0.25.1")])
def test_companions_that_fit_pass(pair: tuple[str, str]) -> None:
    versions = {"torch": pair[0], "transformers": "5.23.0", "torchvision": pair[1]}
    assert findings(replace(HEALTHY, versions=versions)) == []


def test_newer_two_digit_releases_are_newer() -> None:
    assert findings(replace(HEALTHY, versions={"torch": "2.10.0+cpu", "transformers": "5.100.0"})) == []


def test_diagnosing_is_fast_and_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys; from bloomery.doctor import diagnose; diagnose(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})
    began = time.monotonic()
    diagnose(tmp_path / "not" / "there")
    assert time.monotonic() - began < 2


def test_importing_for_real_finds_what_the_facts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery.doctor.gather", lambda folder: HEALTHY)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(nn=None))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "peft", None)  # type: ignore[arg-type]
    found = diagnose(import_torch=True)
    assert [f.what.split(" fails")[0] for f in found] == [
        "`from transformers import LlamaForCausalLM`",
        "`from peft import LoraConfig`",
    ]


def test_problems_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = replace(HEALTHY, cpu_flags=frozenset({"avx2"}), byte_code=False, python=(3, 10))
    monkeypatch.setattr("bloomery.doctor.gather", lambda folder: facts)
    assert [finding.level for finding in diagnose()] == ["problem", "warning", "note"]
