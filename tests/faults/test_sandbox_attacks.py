"""Code that attacks: at the level that promises it, no attack succeeds, by root or by anyone else."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import subprocess
import time
from pathlib import Path

import pytest

from bloomery.core import sandbox_calls, sandbox_level
from bloomery.core.errors import InputError
from bloomery.core.sandbox import call_each
from bloomery.core.sandbox_level import Limits, check_level, require
from bloomery.core.sandbox_program import run_program

LIMITS = Limits(seconds=10, memory=1 << 30, processes=32)


@pytest.fixture
def walls() -> None:
    try:
        require("isolated")
    except InputError as error:
        pytest.skip(str(error))


ATTACKS = {
    "read /etc/shadow": "open('/etc/shadow').read()",
    "read it through the old root": "open(os.path.join('/proc/1', 'root', 'etc', 'shadow')).read()",
    "read the user's file": "open({secret!r}).read()",
    "read the starter's environment": "open('/proc/1/environ').read()",
    "find a secret in the environment": "os.environ['BLOOMERY_TOKEN']",
    "reach a server on this machine": "socket.create_connection(('127.0.0.1', {port}), 2)",
    "reach the metadata service": "socket.create_connection(('169.254.169.254', 80), 2)",
    "resolve a name": "socket.getaddrinfo('example.org', 80)",
    "make a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "write beside the user's file": "open({secret!r} + '.x', 'w')",
    "write to the system": "open('/usr/x', 'w')",
    "write to Python": "open(os.path.join(sys.prefix, 'x'), 'w')",
    "write to its own program": "open('/box/main.py', 'w')",
    "make a file at the root": "open('/x', 'w')",
    "make the root writable": "sure(libc.mount(b'none', b'/', None, 32, None))",
    "fill the disk": "open('/tmp/x', 'wb').write(b'x' * (200 << 20)) if resource else 0",
    "allocate 10 GB": "len(bytearray(10 << 30))",
    "trace the first process": "sure(libc.ptrace(16, 1, 0, 0))",
    "trace a process outside": "sure(libc.ptrace(16, {pid}, 0, 0))",
    "be traced": "sure(libc.ptrace(0, 0, 0, 0))",
    "read memory outside": "open('/proc/{pid}/mem', 'rb').read(1)",
    "kill a process outside": "os.kill({pid}, 0)",
    "become root": "os.setuid(0)",
    "make a user namespace": "sure(libc.unshare(0x10000000))",
    "clone into a user namespace": "sure(libc.syscall({clone}, 0x10000000 | 17, 0, 0, 0, 0))",
    "leave by chroot": "os.chroot('/tmp')",
    "load a BPF program": "sure(libc.syscall({bpf}, 0, 0, 0))",
    "make a device": "os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))",
}
PROLOGUE = """
import ctypes, os, resource, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def sure(code):
    if code < 0: raise OSError(ctypes.get_errno())
    return code
"""


def attack(code: str, tmp_path: Path, limits: Limits = LIMITS) -> str:
    ran = run_program({"main.py": PROLOGUE + code}, "main.py", "", limits, "isolated")
    assert not ran.broken
    return ran.output + ran.problem


@pytest.mark.usefixtures("walls")
def test_no_attack_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "key.txt"
    secret.write_text("canary")
    secret.chmod(0o644)
    monkeypatch.setenv("BLOOMERY_TOKEN", "canary")
    column = sandbox_calls.MACHINES[platform.machine()][0]
    with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["sleep", "60"]) as other:
        known = {
            "secret": str(secret),
            "port": server.getsockname()[1],
            "pid": other.pid,
            "clone": sandbox_calls.CLONE[column],
            "bpf": sandbox_calls.FORBIDDEN["bpf"][column],
        }
        lines = [
            f"try: print({name!r}, 'SUCCEEDED', {code.format(**known)})\nexcept BaseException: print('refused')"
            for name, code in ATTACKS.items()
        ]
        lines.append("try: os.kill(1, 9)\nexcept OSError: pass\nprint('alive')")  # may be sent, and must not arrive
        said = attack("\n".join(lines), tmp_path)
        other.kill()
    assert said.endswith("alive\n")
    assert [line for line in said.splitlines() if "SUCCEEDED" in line] == []
    assert said.count("refused") == len(ATTACKS)
    assert "canary" not in said


@pytest.mark.usefixtures("walls")
def test_the_same_attacks_succeed_without_walls(tmp_path: Path) -> None:
    """The negative control: what fails above fails because of the walls."""
    (tmp_path / "key.txt").write_text("canary")
    code = f"print(open({str(tmp_path / 'key.txt')!r}).read())"
    ran = run_program({"main.py": PROLOGUE + code}, "main.py", "", LIMITS, "process")
    assert ran.output == "canary\n" and not ran.problem


@pytest.mark.usefixtures("walls")
def test_a_fork_bomb_meets_its_limit_and_dies_whole(tmp_path: Path) -> None:
    counted = """
import time
made = 0
while True:
    try:
        if os.fork() == 0: time.sleep(600)
        made += 1
    except OSError:
        break
print("made", made, flush=True)
"""
    said = attack(counted, tmp_path, Limits(seconds=60, processes=32))
    assert 0 < int(said.split()[1]) < 32
    endless = "while True:\n    try: os.fork()\n    except OSError: pass"
    assert "longer than 1 s" in attack(endless, tmp_path, Limits(seconds=1, processes=32))
    for _ in range(200):  # the kernel ends them one by one
        if not [command for command in _commands() if b"/box/main.py" in command]:
            return
        time.sleep(0.05)
    pytest.fail("some still run")


def _commands() -> list[bytes]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(place.read_bytes())
    return found


@pytest.mark.usefixtures("walls")
def test_processes_share_one_memory_limit(tmp_path: Path) -> None:
    code = """
import time
for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(os.urandom(1 << 20) * 100)
        time.sleep(60)
time.sleep(60)
"""
    said = attack(code, tmp_path, Limits(seconds=30, memory=400 << 20, processes=32))
    assert "together used more than 400 MB" in said


@pytest.mark.usefixtures("walls")
def test_a_program_cannot_claim_that_its_walls_fell(tmp_path: Path) -> None:
    for status in (120, 121):
        ran = run_program({"main.py": f"import os; os._exit({status})"}, "main.py", "", LIMITS, "isolated")
        assert not ran.broken and ran.problem == "ended with exit status 1"


@pytest.mark.usefixtures("walls")
def test_a_function_works_inside_walls_and_sees_its_own_file_only(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("x = 1")
    path = tmp_path / "reward.py"
    path.write_text(
        "import os, json, numpy\ndef grade(item): return [item * 2, sorted(os.listdir('/box')), os.getcwd()]"
    )
    doubled, box, here = call_each(path, "grade", [21], LIMITS, "isolated")[0].value
    assert doubled == 42 and here == "/tmp" and "neighbour.py" not in box


@pytest.mark.usefixtures("walls")
def test_output_without_end_is_cut(tmp_path: Path) -> None:
    ran = run_program({"main.py": "while True: print('x' * 65536)"}, "main.py", "", LIMITS, "isolated")
    assert ran.problem and len(ran.output) <= 1 << 20


def test_what_runs_with_the_users_rights_needs_their_word() -> None:
    for level in ("trusted", "process"):
        with pytest.raises(InputError, match="trusted: true"):
            check_level(level, False, "runs code")
        check_level(level, True, "runs code")
    check_level("isolated", False, "runs code")
    with pytest.raises(InputError, match="did you mean `isolated`"):
        check_level("isolate", True, "runs code")


def test_a_level_that_cannot_be_had_is_refused_with_reason_and_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_level._no_walls.cache_clear()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(InputError, match=r"cannot be had.*riscv64") as caught:
        require("isolated")
    assert "level: process" in (caught.value.fix or "")
    with pytest.raises(InputError, match="cannot be had"):
        run_program({"main.py": ""}, "main.py", "", LIMITS, "isolated")
    sandbox_level._no_walls.cache_clear()


def test_trusted_code_runs_in_this_process(tmp_path: Path) -> None:
    path = tmp_path / "reward.py"
    path.write_text("import os\ndef grade(item):\n    if item: raise ValueError('odd')\n    return os.getpid()")
    fine, odd = call_each(path, "grade", [0, 1], LIMITS, "trusted")
    assert fine.value == os.getpid() and odd.error == "ValueError: odd"
    with pytest.raises(InputError, match="inside this process"):
        run_program({"main.py": ""}, "main.py", "", LIMITS, "trusted")


def test_the_filter_is_whole_on_every_machine_we_know() -> None:
    for machine in sandbox_calls.MACHINES:
        code = sandbox_calls.program(machine)
        assert len(code) % 8 == 0 and len(code) // 8 < 4096
        assert set(sandbox_calls.needed(machine)) == {"pivot_root", "mount_setattr"}
    assert json.dumps(sandbox_calls.needed("x86_64"))
