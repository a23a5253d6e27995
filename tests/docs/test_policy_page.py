"""The policy on the page about policies can guard, and its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from bloomery.serve.policy.load import floor, templates
from bloomery.serve.policy.numbers import CHECKS
from bloomery.serve.policy.schema import KINDS
from bloomery.serve.policy.show import check_policy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text()


def test_the_policy_on_the_page_can_guard(tmp_path: Path) -> None:
    (policy,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "policy.yaml"
    path.write_text(policy)
    assert set(check_policy(path).to_json()["categories"]) == {
        "dangerous_activities",
        "controlled_substances",
        "trade_secrets",
    }


def test_the_page_names_every_template_detector_check_and_category_of_the_floor() -> None:
    for name in (*templates(), *KINDS):
        assert f"`{name}`" in PAGE, name
    assert f"`check`: {', '.join(sorted(CHECKS))}" in PAGE
    for name, category in floor().items():
        assert f"| `{name}` | {category.action} |" in PAGE
