"""What has to be here before a training can begin: a plan that nothing refuses, and its start, fetched if need be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bloomery.models.hub import fetch
from bloomery.recipes.access import hub_token
from bloomery.recipes.checks import refuse
from bloomery.recipes.explain import explain
from bloomery.recipes.judges import fetch_judges, graders_of
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan
from bloomery.recipes.resolve import resolve

Say = Callable[[str], None]


def ready(loaded: Loaded, place: Path, say: Say) -> Plan:
    """The plan of a recipe's first training, with all its weights on this machine.

    Raises `InputError` for everything that `explain` refuses; where a model was fetched for it, again by what the
    model's configuration shows.
    """
    found = explain(loaded, place=place)
    refuse(found.problems)
    assert found.plan is not None  # a plan that is missing is a problem
    fetch_judges(graders_of(found.plan), say)
    if not _fetched(found.plan, say):
        return found.plan
    found = explain(loaded, place=place)
    refuse(found.problems)
    assert found.plan is not None
    return found.plan


def resolved(loaded: Loaded, say: Say) -> Plan:
    """The plan of a recipe that is only looked at, its start fetched where it is not here."""
    plan = resolve(loaded)
    return resolve(loaded) if _fetched(plan, say) else plan


def restored(plan: Plan, say: Say) -> Plan:
    """A plan read back, its Hub model fetched again at the same commit where the cache has been emptied since."""
    repo, folder = plan.get("start.repo"), plan.get("start.folder")
    if not repo or not folder or Path(folder).is_dir():
        return plan
    commit = plan.get("start.commit")
    say(f"fetching {repo} at {commit} from the Hub")
    place = str(fetch(repo, commit, hub_token(plan)))
    keys = [key for key in ("start.folder", "start.tokenizer") if plan.get(key) == folder]
    return plan.updated({key: replace(plan.values[key], value=place) for key in keys})


def _fetched(plan: Plan, say: Say) -> bool:
    """Whether the plan's start lay on the Hub, and lies here now."""
    repo, revision = plan.get("start.repo"), plan.get("start.revision")
    if not repo or plan.get("start.folder"):
        return False
    say(f"fetching {repo} at {revision or 'main'} from the Hub")
    fetch(repo, revision, hub_token(plan))
    return True
