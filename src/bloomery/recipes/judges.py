"""Judges by name: models of this machine that grade the answers of others, loaded when they are first asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import verify_ours
from bloomery.core.hub import forbidden, offline
from bloomery.core.yaml import load_yaml
from bloomery.graders.nested import mapped, walk
from bloomery.recipes.find import find_model
from bloomery.recipes.opening import opened

if TYPE_CHECKING:
    from bloomery.evals.judge import Answering, EngineJudge
    from bloomery.evals.judged import Judging
    from bloomery.evals.suites import Suite
    from bloomery.graders.ask import Ask, Embed
    from bloomery.graders.load import Given
    from bloomery.models.load import Loaded

JUDGES = ("score_model", "label_model", "pairwise")
"""Kinds of graders that ask a model."""
Judge = str | Mapping[str, Any]
"""A model of this machine by its name, or a server: `{url, model, key}`."""


class Judges:
    """Models that judge, each loaded once; the model that is being measured judges with the engine that it has."""

    def __init__(self) -> None:
        self._loaded: dict[Path, EngineJudge] = {}
        self._tested: tuple[Path, EngineJudge] | None = None

    def given(self) -> Given:
        """What graders are given."""
        from bloomery.graders.load import Given

        return Given(judges=self.ask, embedders=self.embed)

    def ask(self, name: str) -> Ask:
        """The judge of this name. Raises `InputError` at once for a model that is not there."""
        _refuse_unknown(name, "judge")
        return lambda questions: self._of(name)(questions)

    def embed(self, name: str) -> Embed:
        """The embeddings of the model of this name. Raises `InputError` at once for one that is not there."""
        _refuse_unknown(name, "embedder")
        return lambda texts: self._of(name).embed(texts)

    def measuring(self, loaded: Loaded, engine: Answering, suites: Sequence[Suite]) -> Judging:
        """How these suites are judged while this model is measured."""
        from bloomery.evals.judge import EngineJudge
        from bloomery.evals.judged import Judging
        from bloomery.evals.prompts import Prompter

        self._tested = None
        names = {name for suite in suites if suite.grader for name in judge_names(suite.grader)}
        if loaded.folder is None or not names:
            return Judging(self.given())
        itself = frozenset(name for name in names if _same(find_model(name).folder, loaded.folder))
        if itself:
            self._tested = loaded.folder, EngineJudge(engine, Prompter(loaded.tokenizer, "auto"))
        return Judging(self.given(), itself)

    def measured(self) -> None:
        """Let go of the model that was measured."""
        self._tested = None

    def _of(self, name: str) -> EngineJudge:
        from bloomery.engine.native import NativeEngine
        from bloomery.evals.judge import EngineJudge
        from bloomery.evals.prompts import Prompter

        found = find_model(name)
        if self._tested is not None and _same(found.folder, self._tested[0]):
            return self._tested[1]
        if found.folder not in self._loaded:
            loaded = opened(found)
            if found.scaffold or loaded.tokenizer is None:
                raise InputError(f"`judge: {name}` cannot be asked: it has no weights, or no tokenizer", fix=FIX)
            self._loaded[found.folder] = EngineJudge(NativeEngine(loaded), Prompter(loaded.tokenizer, "auto"))
        return self._loaded[found.folder]


FIX = "write a run, a model folder or FAMILY/STAGE, or a server: `{url: https://.../v1, model: NAME, key: {env: NAME}}`"


def judge_names(grader: Mapping[str, Any]) -> list[str]:
    """Names of the models of this machine that a grader, and those inside it, ask or compare embeddings by."""
    given = (one for _, part in walk(grader) for one in (part.get("judge"), part.get("embedder")))
    return list(dict.fromkeys(name for name in given if isinstance(name, str)))


def with_judge(grader: dict[str, Any], judge: Judge | None) -> dict[str, Any]:
    """The grader with this judge wherever one asks a model and names none."""

    def named(part: Mapping[str, Any]) -> dict[str, Any]:
        wanted = part.get("type") in JUDGES and part.get("judge") is None and part.get("url") is None
        return {**part, "judge": judge} if wanted else dict(part)

    return grader if judge is None else mapped(grader, named)


def judge_from(given: Judge | None) -> Judge | None:
    """What `--judge` names: a model, or the judge that a YAML file describes."""
    if not isinstance(given, str):
        return given
    if "://" in given:
        fix = "write `{url: ..., model: NAME, key: {env: NAME}}` into a YAML file, and name that"
        raise InputError(f"`--judge {given}`: an address alone does not say which model", fix=fix)
    if Path(given).suffix not in (".yaml", ".yml", ".json"):
        return given
    described, _ = load_yaml(Path(given))
    found = described.get("judge", described) if isinstance(described, dict) else None
    if not isinstance(found, str | dict):
        raise InputError("describes no judge", where=Where(Path(given), 1), fix="write `url`, `model` and `key`")
    return found


def refuse_judge(part: Mapping[str, Any]) -> None:
    """Raise `InputError` where one grader, not those inside it, has nobody to ask, or somebody who is not there."""
    from bloomery.graders.ask import Server, named

    asks, name = part.get("type") in JUDGES and part.get("url") is None, part.get("name", part.get("type"))
    if asks and part.get("judge") is None:
        fix = "add `judge` to it, `eval.judge` to the recipe, or --judge"
        raise InputError(f"grader `{name}` has no judge to ask", fix=fix)
    if part.get("evaluation_metric") == "cosine" and part.get("embedder") is None:
        raise InputError(f"grader `{name}` has no embeddings to compare", fix="add `embedder` to it")
    for key in ("judge", "embedder"):
        given = part.get(key)
        if given is None:
            continue
        who = named(given, key)
        if isinstance(who, Server):
            if who.key is not None:
                who.key.reveal()
            continue
        _refuse_unknown(who, key)
    if part.get("api_key") is not None and part.get("url") is not None:
        from bloomery.core.secret import Secret

        Secret.parse(part["api_key"]).reveal()


def fetch_judges(graders: Iterable[Mapping[str, Any]], say: Callable[[str], None]) -> None:
    """Have every judge that lies on the Hub on this machine."""
    for name in dict.fromkeys(name for grader in graders for name in judge_names(grader)):
        found = find_model(name, fetched=False)
        if not found.folder.is_dir():
            say(f"fetching the judge {name} from the Hub")
            find_model(name)


def graders_of(plan: Any) -> Iterator[Mapping[str, Any]]:
    """Every grader of a plan."""
    yield from (one for one in (plan.get("eval.grader"), *(s["grader"] for s in plan.get("eval.suites"))) if one)


def _refuse_unknown(name: str, key: str) -> None:
    try:
        found = find_model(name, fetched=False)
    except InputError as error:
        raise InputError(f"`{key}: {name}`: {error.message}", fix=FIX) from None
    if found.scaffold:
        raise InputError(f"`{key}: {name}` is an empty scaffold, which knows nothing", fix=FIX)
    if not found.folder.is_dir() and forbidden():
        raise offline("model", str(found.folder), None)


def _same(one: Path, other: Path) -> bool:
    """Whether two folders hold one model: they are one, or have one manifest."""
    if one.resolve() == other.resolve():
        return True
    mark = verify_ours(one)
    return mark is not None and mark == verify_ours(other)
