"""lm-eval's own `hf` model against our engine, on three tasks over local files: every figure side by side.

    python bench/lm_eval.py [MODEL FOLDER]      # needs: pip install 'bloomery[eval]'

Tasks: multiple choice (`acc`, `acc_norm`), loglikelihood_rolling (perplexities) and generate_until (`exact_match`),
over ember's held-out rows and questions in BBQ's form; both run in fp32 on the CPU. Exits with 1 where a figure
differs by more than 1e-4 of it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path[:] = [
    one for one in sys.path if Path(one or ".").resolve() != Path(__file__).resolve().parent
]  # lm_eval is not this file
ROOT = Path(__file__).resolve().parents[1]
HELD = ROOT / "families" / "ember" / "heldout"
ROWS = 200

TASK = """task: bloomery_{name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: {kind}
{more}
metadata: {{version: 1}}
"""
CHOICE = """doc_to_text: "{{prompt}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}"""
ROLLING = """doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]"""
GENERATE = """doc_to_text: "{{prompt}}\\n"
doc_to_target: "{{reference_answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 32, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]"""


def write_tasks(folder: Path) -> list[str]:
    """Rows and task files; returns the tasks' names."""
    from bloomery.data.builtin import generate

    skills = [json.loads(line) for line in (HELD / "skills.jsonl").read_text().splitlines()][:: 2200 // ROWS][:ROWS]
    texts = [json.loads(line) for line in (HELD / "documentation.jsonl").read_text().splitlines()][:ROWS]
    rows = {
        "choice": (list(generate("bias"))[:ROWS], "multiple_choice", CHOICE),
        "rolling": ([{"id": one["id"], "text": one["text"]} for one in texts], "loglikelihood_rolling", ROLLING),
        "generate": (
            [{k: one[k] for k in ("prompt", "reference_answer")} for one in skills],
            "generate_until",
            GENERATE,
        ),
    }
    for name, (found, kind, more) in rows.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in found))
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=file, kind=kind, more=more))
    return [f"bloomery_{name}" for name in rows]


def ours(model: Path, tasks: list[str], folder: Path) -> dict[str, Any]:
    """Figures through our engine."""
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.lm_eval import evaluate_tasks
    from bloomery.evals.suites import Suite
    from bloomery.models.load import load_model

    loaded = load_model(model)
    suite = Suite("bench", "lm_eval", [], "general", tasks=tuple(tasks), include=folder)
    return evaluate_tasks(NativeEngine(loaded), loaded.tokenizer, suite)["results"]


def theirs(model: Path, tasks: list[str], folder: Path) -> dict[str, Any]:
    """Figures of lm-eval's `hf` model."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder))
    args = {"pretrained": str(model), "dtype": "float32", "device": "cpu"}
    found = simple_evaluate("hf", args, tasks, batch_size=16, task_manager=manager, bootstrap_iters=0)
    return dict(found["results"])


def main() -> int:
    """Run both and compare."""
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "families" / "ember" / "posttrained"
    with tempfile.TemporaryDirectory() as place:
        tasks = write_tasks(Path(place))
        left, right = ours(model, tasks, Path(place)), theirs(model, tasks, Path(place))
    worst = 0.0
    for task in tasks:
        for key, value in right[task].items():
            if isinstance(value, float) and "stderr" not in key:
                differs = abs(left[task][key] - value) / max(abs(value), 1e-9)
                worst = max(worst, differs)
                print(
                    f"{task:20} {key.split(',')[0]:18} ours {left[task][key]:.6f}  lm-eval {value:.6f}  {differs:.1e}"
                )
    print(f"largest relative difference {worst:.1e}")
    return int(worst > 1e-4)


if __name__ == "__main__":
    sys.exit(main())
