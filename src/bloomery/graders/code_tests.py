"""Inside the sandbox: runs an answer's program, then the row's tests on what it defined, and tells how many passed.

Started by path beside `answer.py`, `tests.json` and each test as a file; the standard library only. The word to answer
with is read from standard input once the program has run, so a program that just exits cannot have said it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    """Print the word, how many tests passed, and what went wrong first."""
    here = Path(__file__).parent
    tests = json.loads((here / "tests.json").read_text())
    names: dict[str, object] = {}
    passed, wrong = 0, ""
    try:
        run(here / "answer.py", names)
    except BaseException as error:
        wrong = f"the program raised {type(error).__name__}: {error}"
    for at, test in enumerate(tests if not wrong else ()):
        try:
            run(here / f"test_{at}.py", names)
            passed += 1
        except BaseException as error:
            wrong = wrong or f"{test.strip()[:80]} raised {type(error).__name__}: {error}"
    print(f"\n{sys.stdin.read().strip()} {passed} {' '.join(wrong.split())}", flush=True)


def run(file: Path, names: dict[str, object]) -> None:
    """Run a file with `names` defined, and define there what it defines. Raises what it raises."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    vars(module).update(names)
    spec.loader.exec_module(module)
    names.update((name, value) for name, value in vars(module).items() if not name.startswith("__"))


if __name__ == "__main__":
    main()
