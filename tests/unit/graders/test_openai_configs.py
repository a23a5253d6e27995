"""OpenAI's grader configurations, in the shape of their API reference and guides, load and grade as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.sandbox_level import require
from bloomery.graders.ask import Question, Said
from bloomery.graders.function import PythonFunction
from bloomery.graders.load import Given, load_grader
from bloomery.graders.payload import Sample

STRING_CHECK = """{
  "type": "string_check",
  "name": "Example string check grader",
  "input": "{{sample.output_text}}",
  "reference": "{{item.label}}",
  "operation": "eq"
}"""
TEXT_SIMILARITY = """{
  "type": "text_similarity",
  "name": "Example text similarity grader",
  "input": "{{sample.output_text}}",
  "reference": "{{item.label}}",
  "evaluation_metric": "fuzzy_match"
}"""
SCORE_MODEL = """{
  "type": "score_model",
  "name": "Example score model grader",
  "input": [
    {
      "role": "user",
      "content": {
        "type": "input_text",
        "text": "Score how close the reference answer is to the model answer. Score 1.0 if they are the same and 0.0 if\
 they are different. Return just a floating point score\\n\\n Reference answer: {{item.label}}\\n\\n Model answer:\
 {{sample.output_text}}"
      }
    }
  ],
  "model": "gpt-4o-2024-08-06",
  "sampling_params": {"temperature": 1, "top_p": 1, "seed": 42, "max_completions_tokens": 32768},
  "range": [0, 1]
}"""
LABEL_MODEL = """{
  "type": "label_model",
  "name": "First label grader",
  "model": "gpt-4o-2024-08-06",
  "input": [
    {"type": "message", "role": "system", "content": {"type": "input_text",
      "text": "Classify the sentiment of the following statement as one of positive, neutral, or negative"}},
    {"type": "message", "role": "user", "content": {"type": "input_text", "text": "Statement: {{item.response}}"}}
  ],
  "passing_labels": ["positive"],
  "labels": ["positive", "neutral", "negative"]
}"""
PYTHON = """{
  "type": "python",
  "name": "Example python grader",
  "image_tag": "2025-05-08",
  "source": "def grade(sample: dict, item: dict) -> float:\\n    \\"\\"\\"Returns 1.0 if `output_text` equals `label`,\
 otherwise 0.0.\\"\\"\\"\\n    output = sample.get(\\"output_text\\")\\n    label = item.get(\\"label\\")\\n   \
 return 1.0 if output == label else 0.0\\n"
}"""
MULTI = """{
  "type": "multi",
  "name": "example multi grader",
  "graders": [
    {"type": "text_similarity", "name": "similarity", "input": "{{sample.output_text}}",
     "reference": "{{item.label}}", "evaluation_metric": "fuzzy_match"},
    {"type": "string_check", "name": "exact", "input": "{{sample.output_text}}", "reference": "{{item.label}}",
     "operation": "eq"}
  ],
  "calculate_output": "0.5 * similarity + 0.5 * exact"
}"""
MULTI_JSON = """{
  "type": "multi",
  "graders": {
    "name": {"type": "text_similarity", "name": "name_grader", "input": "{{sample.output_json.name}}",
             "reference": "{{item.name}}", "evaluation_metric": "fuzzy_match"},
    "email": {"type": "string_check", "name": "email_grader", "input": "{{sample.output_json.email}}",
              "reference": "{{item.email}}", "operation": "eq"}
  },
  "calculate_output": "(name + email) / 2"
}"""
ENDPOINT = """{
  "type": "endpoint",
  "name": "Example endpoint grader",
  "url": "https://my-grading-service.example/grade",
  "headers": {"X-Team": "rewards"},
  "rate_limit": 10
}"""


def says(**reply: Any) -> Given:
    def ask(questions: Sequence[Question]) -> list[Said]:
        return [Said(json.dumps(reply))] * len(questions)

    return Given(ask=ask)


def grade(config: str, answer: str, given: Given = Given(), **item: Any) -> float | None:  # noqa: B008
    sample = Sample("a", [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}], None, item)
    return load_grader(json.loads(config), given=given).grade([sample])[0].aggregate_reward_score


def test_string_check_and_text_similarity() -> None:
    assert grade(STRING_CHECK, "cat", label="cat") == 1
    assert grade(STRING_CHECK, "cat", label="dog") == 0
    assert grade(TEXT_SIMILARITY, "kitten", label="sitting") == pytest.approx(8 / 13)


def test_score_model_and_label_model() -> None:
    assert grade(SCORE_MODEL, "cat", says(reasoning="", score=0.25), label="cat") == 0.25
    assert grade(LABEL_MODEL, "cat", says(reasoning="", label="positive"), response="I love it") == 1
    assert grade(LABEL_MODEL, "cat", says(reasoning="", label="neutral"), response="I love it") == 0


def test_python_with_its_source_runs_inside_walls() -> None:
    try:
        require("isolated")
    except InputError as error:
        pytest.skip(str(error))
    assert grade(PYTHON, "cat", label="cat") == 1
    assert grade(PYTHON, "cat", label="dog") == 0


def test_multi_by_list_and_by_name() -> None:
    assert grade(MULTI, "cat", label="cat") == 1
    assert grade(MULTI, "dog", label="cat") == 0
    assert grade(MULTI_JSON, '{"name": "Ann", "email": "a@b"}', name="Ann", email="a@b") == 1
    assert grade(MULTI_JSON, '{"name": "Ann"}', name="Ann", email="a@b") is None
    assert grade(MULTI_JSON, "not json", name="Ann", email="a@b") is None


def test_endpoint_loads() -> None:
    assert load_grader(json.loads(ENDPOINT)).name == "Example endpoint grader"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def grade(sample, item)\n    return 1\n", "expected ':', line 1 of it"),
        ("x = '\0'", "null byte"),
        ("(" * 5000, "too many"),
    ],
)
def test_a_source_that_is_no_python_is_refused_by_its_line(source: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"`source` is no Python: .*{said}"):
        PythonFunction(source=source)
