from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bloomery.core.errors import BudgetError, InputError
from bloomery.launch.local import Place, run_here, this_place


def raiser(error: BaseException) -> int:
    raise error


def test_an_error_of_ours_becomes_a_message_and_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(lambda: 0) == 0
    assert run_here(lambda: raiser(InputError("bad key", fix="remove it"))) == 2
    assert run_here(lambda: raiser(BudgetError("general rose 3%"))) == 3
    assert run_here(lambda: raiser(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "error: bad key\n  fix: remove it\nerror: general rose 3%\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_here(lambda: 1 // 0)


def test_an_error_that_quotes_a_secret_is_scrubbed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_KEY", "canary-5f1c0a77")
    run_here(lambda: raiser(InputError("the endpoint refused canary-5f1c0a77")))
    assert capsys.readouterr().err == "error: the endpoint refused [hidden]\n"


def test_the_place_is_read_from_what_torchrun_sets() -> None:
    assert this_place({}) == Place(0, 1, 0)
    assert this_place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Place(3, 4, 1)
    assert not this_place({"RANK": "3", "WORLD_SIZE": "4"}).first


@pytest.mark.parametrize("env", [{"RANK": "x"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1"}, {"LOCAL_RANK": "1"}])
def test_a_place_that_cannot_be_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(InputError, match="torchrun"):
        this_place(env)


@pytest.mark.parametrize(("size", "torn_down"), [("1", True), ("2", False)])
def test_one_of_several_processes_leaves_without_teardown(size: str, torn_down: bool) -> None:
    code = (
        "import atexit; from bloomery.launch.local import leave; "
        "atexit.register(print, 'torn down'); print('said'); leave(3)"
    )
    environment = {**os.environ, "WORLD_SIZE": size, "RANK": "0", "LOCAL_RANK": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout == "said\n" + "torn down\n" * torn_down
