"""Writes docs/first-run.ipynb and executes it: `python docs/make_notebook.py`.

Needs ember's trained weights, and `pip install nbclient ipykernel` beside an installed Bloomery. It takes as long as
the demo. `--plain` writes the cells without executing them. What would tell of the machine is taken out.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).with_name("first-run.ipynb")
ROOT = NOTEBOOK.parents[1]
SECONDS = 7200

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """# A first run

Ember, the [embedded family](ember.md), learns an [invented workflow language](workflow-language.md) from its manual and
from question-program pairs. Nobody can know that language from anywhere else, and every answer is checked by running
it. The same is trained twice more: on the language alone, to see what would be forgotten, and on general data alone,
to see what the schedule does by itself. Two CPU cores are enough.""",
    ),
    ("code", "import bloomery\n\nchanges = {'name': 'first-run'}"),
    (
        "markdown",
        "What would it do? Nothing is trained yet, and torch is not even loaded. Each value says where it comes from.",
    ),
    ("code", "!bloomery explain demo"),
    ("code", "found = bloomery.explain('demo', changes)\n[str(problem) for problem in found.problems]"),
    (
        "markdown",
        "A look at what the model will read. Trained tokens stand between ⟦ ⟧: of a pair, only the answer is trained.",
    ),
    ("code", "!bloomery data show demo --step 5 --rows 3"),
    ("markdown", "Now train: the blend and both controls, then score all of them and the start on the same rows."),
    ("code", "result = bloomery.run('demo', changes, quiet=True)\nprint(result.status, result.exit_status)\nresult"),
    (
        "markdown",
        """The page above is `report.html` of the run folder. The figures are in `report.json` too: here the relative
change of bits per byte, for the blend and for each control.""",
    ),
    (
        "code",
        """import json

report = json.loads((result.folder / 'report.json').read_text())
arms = {'blend': report['groups']} | {arm['name']: arm['groups'] for arm in report['arms']}
for name, groups in arms.items():
    shown = {group: f"{groups[group]['change']['estimate']:+.1%}" for group in ('domain', 'general')}
    print(f'{name:14}', shown)""",
    ),
    (
        "markdown",
        "Does the proof stand? Its [conditions](proof.md) are part of the report.",
    ),
    (
        "code",
        """for condition in report['proof']['conditions']:
    print({True: 'met', False: 'not met', None: 'not asked for'}[condition['met']], '|', condition['name'], '|',
          condition['said'])
print('share of the domain-only gain kept:', report['proof']['gain_kept'])""",
    ),
    ("markdown", "What went into it, by the receipt:"),
    (
        "code",
        """receipt = json.loads((result.folder / 'data-receipt.json').read_text())
for name, source in receipt['sources'].items():
    taken = source['taken']
    print(f"{name:16} {taken['tokens']:>8,} tokens  {taken['share']:6.1%}  {taken['epochs']:.2f} epochs")""",
    ),
    ("markdown", "Ask it for a program that it has never seen, and run what it writes."),
    (
        "code",
        """from bloomery.data.builtin import generate
from bloomery.data.curated.workflow.check import check

rows = list(generate('workflow-pairs', {'split': 'heldout', 'count': 5, 'seed': 3}))
for row in rows:
    answer = bloomery.ask('first-run', row['prompt'])
    print(row['prompt'], answer, check(answer, row['metadata']).ok, sep='\\n', end='\\n\\n')""",
    ),
    (
        "markdown",
        "The result is an ordinary Hugging Face folder, and a start for the next run: `start: first-run`. Its "
        "lineage is kept.",
    ),
    ("code", "[(model.name, model.ancestry) for model in bloomery.list_models()]"),
]


def notebook() -> Any:
    """The cells without outputs; ids are their numbers, so that writing twice gives the same file."""
    made = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    for number, (kind, text) in enumerate(CELLS):
        cell = nbformat.v4.new_markdown_cell(text) if kind == "markdown" else nbformat.v4.new_code_cell(text)
        cell["id"] = f"cell-{number}"
        made.cells.append(cell)
    return made


def executed(made: Any) -> Any:
    """The notebook run in an empty folder, with its paths shortened and its timings left out."""
    from nbclient import NotebookClient

    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {"NO_COLOR": "1", "COLUMNS": "110", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(made, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
        places = {str(Path(folder).resolve()): ".", folder: ".", str(ROOT): "bloomery", str(Path.home()): "~"}
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_shortened(output, places) for output in cell.outputs if output.get("name") != "stderr"]
    made.metadata.pop("kernelspec", None)
    made.metadata["language_info"] = {"name": "python"}
    return made


def _shortened(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, str):
        for place, name in places.items():
            value = value.replace(place, name)
        return re.sub(r"\x1b\[[0-9;]*m", "", value)
    if isinstance(value, dict):
        return type(value)({key: _shortened(inner, places) for key, inner in value.items()})
    return [_shortened(inner, places) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    written = notebook() if "--plain" in sys.argv else executed(notebook())
    nbformat.validate(written)
    NOTEBOOK.write_text(nbformat.writes(written) + "\n", encoding="utf-8")
