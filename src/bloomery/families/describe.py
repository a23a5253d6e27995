"""A family as text for people: a line for the list, a page for one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from bloomery.families.registry import Family, added_sources
from bloomery.families.schema import Checkpoint, CuratedSource, FamilyFile, Tag


def in_order(families: Iterable[Family]) -> list[Family]:
    """By what stands before the size in the name, then by size."""
    return sorted(families, key=lambda family: (family.name.rpartition("-")[0] or family.name, family.file.parameters))


def listed(file: FamilyFile) -> list[str]:
    """Name, number of weights, stages by class, licence."""
    classes: dict[str, list[str]] = {}
    for name, stage in file.checkpoints.items():
        classes.setdefault("empty" if stage.empty else stage.heat(), []).append(name)
    stages = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in classes.items())
    return [file.name, count(file.parameters), stages, file.licence]


def described(family: Family) -> str:
    """Everything the family file says: its head, each checkpoint, each curated mix, how the figures are known."""
    file = family.file
    marks = [file.licence, file.architecture, f"{count(file.parameters)} weights", f"context {file.context:,}"]
    marks += [f"transformers >= {file.transformers}"] if file.transformers else []
    marks += ["gated"] if file.gated else []
    marks += [f"data {file.data}"] if file.data != "open" else []
    blocks = [f"{file.title}: {', '.join(marks)}"]
    blocks += ["\n".join(_checkpoint(family, name, stage)) for name, stage in file.checkpoints.items()]
    blocks += ["\n".join(_mix(family, name, mix)) for name, mix in family.mixes.items()]
    blocks += [] if family.mixes else [_none(file)]
    return "\n\n".join([*blocks, "\n".join(_evidence(file))])


def count(number: int) -> str:
    """8030261248 as `8.03B`."""
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= scale:
            return f"{number / scale:.4g}{letter}"
    return str(number)


def _checkpoint(family: Family, name: str, stage: Checkpoint) -> Iterator[str]:
    file = family.file
    kind = "a configuration without weights" if stage.empty else f"{stage.stage}, {stage.heat()}"
    yield f"{name}  {kind}{'' if stage.auto else ', not taken by `start: auto`'}"
    doubt = partial(_doubt, file, f"checkpoints.{name}")
    where = stage.folder or f"{stage.repo}@{stage.revision}"
    yield _row("weights", where + (doubt("revision") if stage.repo else ""))
    if stage.commit:
        yield _row("commit", stage.commit)
    if stage.tokens:
        yield _row("tokens", f"{stage.tokens:,}{doubt('tokens')}")
    if not stage.empty:
        yield _row("rate", _rates(stage, doubt))
    if (peak := stage.peak()) is not None:
        yield _row("peak", f"{peak:g}{doubt('schedule.peak' if stage.peak_lr is None else 'peak_lr')}")
    if stage.sft_lr is not None:
        yield _row("fine-tuning", f"{stage.sft_lr:g}{doubt('sft_lr')}")
    if stage.batch_tokens:
        yield _row("batch", f"{stage.batch_tokens:,} tokens{doubt('batch_tokens')}")
    yield _row("context", f"{stage.context or file.context:,}")
    if stage.averaging:
        yield _row("averaging", stage.averaging + doubt("averaging"))
    if mix := family.mix_name(name):
        yield _row("curated", mix)


def _row(label: str, text: str) -> str:
    return f"  {label:<11} {text}"


def _doubt(file: FamilyFile, section: str, key: str) -> str:
    """The tag of a value that is known otherwise than the family's other values."""
    tag = file.evidence_of(f"{section}.{key}")
    return f"  [{tag}]" if tag is not None and tag != file.evidence.get("default") else ""


def _rates(stage: Checkpoint, doubt: Callable[[str], str]) -> str:
    """The learning rate at the checkpoint: what is used, and where else it comes from."""
    rates = {"stated": (stage.lr, "lr"), "published": (stage.published_lr, "published_lr")}
    known = {label: f"{label} {rate:.5g}{doubt(key)}" for label, (rate, key) in rates.items() if rate is not None}
    if (computed := stage.computed_lr()) is not None:
        mark = doubt("schedule.peak")
        known["computed"] = f"computed {computed:.5g}{'' if '[computed]' in mark else mark}"
    return ", ".join(known[label] for label in ("stated", "computed", "published") if label in known) or "not known"


def _none(file: FamilyFile) -> str:
    """What a family without mixes is blended with."""
    return "no curated data" if file.data == "open" else "no curated data of its own: `data.curated: proxy` stands in"


def _mix(family: Family, name: str, mix: list[CuratedSource]) -> Iterator[str]:
    yield f"mix {name}"
    added = added_sources(family.file.added[name]) if name in family.file.added else []
    for place, source in enumerate(mix):
        origin = source.hf or source.builtin or str(source.path)
        origin += f"/{source.config}" if source.config else ""
        licence = f", {source.licence}" if source.licence else ""
        key = "path" if source.path else "hf"
        doubt = "  [added]" if source in added else _doubt(family.file, f"curated.{name}.{place}", key)
        kind = f" ({source.kind})" if source.kind != source.name else ""
        doubt += f"  [in place of {source.stands_for}]" if source.stands_for else ""
        yield f"  {source.share:>7.2%}  {source.name}{kind}: {origin}{licence}{doubt}"
        for part, share in source.parts.items():
            yield f"           {share:>7.2%} {part}"


def _evidence(file: FamilyFile) -> Iterator[str]:
    if file.sources:
        yield f"sources: {file.sources}"
    if not file.evidence:
        yield "evidence: not stated"
        return
    default: Tag | None = file.evidence.get("default")
    yield f"evidence: {default or 'not stated'} where nothing else is said"
    for key, tag in file.evidence.items():
        if key != "default":
            yield f"  {tag}: {key}"
