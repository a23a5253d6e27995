"""Replay that the start checkpoint writes itself, for models whose training data nobody has.

A base model continues from the beginning of a document; a post-trained one first writes what a user might ask, from the
template's opening alone, then answers it (Magpie, arXiv 2406.08464). Both at temperature 1, where samples follow the
model's own distribution. Parts are files in the cache, each complete or absent, named after the weights: sampling that
was interrupted goes on at the next part, and a longer run adds parts to those of a shorter one.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import canonical_hash, read_json, write_json, write_text
from bloomery.recipes.checks import ESTIMATE_MARGIN, tokens_by_source
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.curated import SELF
from bloomery.recipes.plan import Plan, Value

if TYPE_CHECKING:
    from bloomery.models.load import Loaded
    from bloomery.train.parallel import World

ROWS = 64
"""Documents sampled at once, which are one part."""
BARREN = 20
"""Parts in a row with nothing new after which a start is taken to have nothing more to say."""
STRETCH, ALIKE = 5, 0.5
"""Words in a stretch, and the share of stretches said before from which a document counts as a near-duplicate."""
MARK = "QUESTION"
"""Stands where a user speaks, to find what the template puts before and after."""
VERSION = 1
"""Part of the cache's key: raise it when sampling changes."""

Row = dict[str, Any]
Say = Callable[[str], None]


def with_own_words(plan: Plan, world: World, say: Say) -> Plan:
    """The plan with the rows of its `self` source in files, sampled now as far as they are not there yet.

    As many tokens as cover the largest arm within the repetition cap; one process samples, the others find it in the
    cache. Raises `InputError` for a start that says nothing new any more.
    """
    first = _with_own_words(plan, str(world.device), say) if world.first else plan
    world.barrier()
    return first if world.first else _with_own_words(plan, str(world.device), say)


def _with_own_words(plan: Plan, device: str, say: Say) -> Plan:
    place = next((n for n, source in enumerate(plan.sources) if source.made == SELF), None)
    if place is None:
        return plan
    needed = max(tokens_by_source(plan, arm.name)[SELF] for arm in plan.arms)
    wanted = ESTIMATE_MARGIN * needed / plan.get("data.repetition_cap")
    folder = cache_dir() / SELF / _key(plan)
    counts = _sampled(plan, folder, wanted, device, say)
    spec = {**plan.sources[place].spec, "path": [str(path) for path in _parts(folder, counts["parts"])]}
    sources = [asdict(source) for source in plan.sources]
    sources[place] |= {"spec": spec, "tokens": counts["tokens"]}
    return plan.updated(
        {
            "sources": replace(plan.values["sources"], value=sources),
            "curated.sampled": Value(counts, "derived", "from the start checkpoint, at temperature 1"),
        }
    )


def _key(plan: Plan) -> str:
    """What the samples follow from: weights, tokenizer and template, seed, and how they are drawn."""
    from bloomery.data.config import SourceSpec
    from bloomery.data.keys import read_files

    folder, template = Path(plan.get("start.folder")), plan.get("start.chat_template")
    files = [*folder.glob("*.safetensors"), Path(plan.get("start.tokenizer")) / "tokenizer.json"]
    files += [Path(template)] if template else sorted(folder.glob("chat_template.jinja"))
    spec = SourceSpec(path=[str(path) for path in sorted(files)])
    hashes = read_files(spec, folder, cache_dir())
    return canonical_hash([VERSION, ROWS, hashes, plan.get("start.stage"), plan.get("context"), plan.get("seed")])[:20]


def _parts(folder: Path, count: int) -> list[Path]:
    return [folder / f"part-{number:05d}.jsonl" for number in range(count)]


def _sampled(plan: Plan, folder: Path, wanted: float, device: str, say: Say) -> dict[str, int]:
    """Sample until the parts hold `wanted` tokens; how many parts, rows and tokens, and what was dropped."""
    from bloomery.evals.suites import read_jsonl

    total: Counter[str] = Counter()
    said: set[int] = set()
    writer: _Writer | None = None
    number = barren = 0
    while total["tokens"] < wanted:
        path = folder / f"part-{number:05d}.jsonl"
        if not path.is_file():
            if writer is None:
                say(f"sampling about {wanted:,.0f} tokens of replay from {plan.get('start.ref')}")
                writer = _Writer(plan, device)
            kept, dropped = _new(writer.part(number), said)
            write_json(path.with_suffix(".json"), dropped)
            write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), 0o600)
        rows = read_jsonl(path)
        said.update(stretch for row in rows for stretch in _stretches(_text(row)))
        total.update({"rows": len(rows), "tokens": sum(row["tokens"] for row in rows)})
        total.update(read_json(path.with_suffix(".json")))
        number, barren = number + 1, 0 if rows else barren + 1
        if barren == BARREN:
            raise InputError(
                f"`{plan.get('start.ref')}` says nothing new after {total['tokens']:,} tokens, and {wanted:,.0f} are "
                "needed", where=Where(folder), fix="use `curated: proxy` or `embedded`, or lower `budget`",
            )  # fmt: skip
    del writer
    gc.collect()
    return {"parts": number, **total}


def _new(rows: Iterator[tuple[Row | None, str]], said: set[int]) -> tuple[list[Row], Counter[str]]:
    """The rows of a part that say something new, and how many were dropped for what reason."""
    kept, dropped = [], Counter[str]()
    before = set(said)
    for row, reason in rows:
        if row is None:
            dropped[reason] += 1
            continue
        own = _stretches(_text(row))
        if len(own & before) >= ALIKE * len(own):
            dropped["near-duplicate"] += 1
            continue
        before |= own
        kept.append(row)
    return kept, dropped


def _text(row: Mapping[str, Any]) -> str:
    return str(row["text"]) if "text" in row else "\n".join(turn["content"] for turn in row["messages"])


def _stretches(text: str) -> set[int]:
    """Hashes of every five words, or of all there are; the same in every process."""
    from hashlib import blake2b

    words = text.casefold().split()
    runs = (" ".join(words[i : i + STRETCH]) for i in range(max(1, len(words) - STRETCH + 1)))
    return {int.from_bytes(blake2b(run.encode("utf-8", "replace"), digest_size=8).digest(), "little") for run in runs}


class _Writer:
    """Samples documents or conversations from the start of a plan."""

    def __init__(self, plan: Plan, device: str) -> None:
        from bloomery.engine.native import NativeEngine
        from bloomery.evals.prompts import Prompter
        from bloomery.recipes.training import load_start

        loaded: Loaded = load_start(plan, plan.get("seed"), device=device)
        self._engine, self._tokenizer = NativeEngine(loaded), loaded.tokenizer
        self._folder, self._seed = Path(plan.get("start.folder")), plan.get("seed")
        self._chat = plan.get("start.stage") == "post"
        self._prompter = Prompter(self._tokenizer, "chat" if self._chat else "plain")
        self._longest = min(plan.get("context"), self._engine.context)

    def part(self, number: int) -> Iterator[tuple[Row | None, str]]:
        """Rows of one part, in place of each that cannot be used the reason; a function of seed and number."""
        return self._conversations(number) if self._chat else self._documents(number)

    def _documents(self, number: int) -> Iterator[tuple[Row | None, str]]:
        begin = self._tokenizer.bos_token_id
        begin = self._tokenizer.eos_token_id if begin is None else begin  # what stood before every document in training
        for place, body in enumerate(self._sample([[begin]] * ROWS, number, self._longest - 1)):
            text = self._tokenizer.decode(body[0], skip_special_tokens=True)
            row = {"id": f"self-{number}-{place}", "text": text, "tokens": len(body[0])}
            yield (row, "") if text.strip() else (None, "empty")

    def _conversations(self, number: int) -> Iterator[tuple[Row | None, str]]:
        opening, closing = self._opening()
        asked = [
            (self._tokenizer.decode(body, skip_special_tokens=True).strip(), whole)
            for body, whole in self._sample([opening] * ROWS, 2 * number, self._longest // 2, closing)
        ]
        usable = [(place, text) for place, (text, whole) in enumerate(asked) if text and whole]
        yield from ((None, "no question") for _ in range(ROWS - len(usable)))
        prompts = [self._prompter.prompt([{"role": "user", "content": text}]) for _, text in usable]
        longest = max(map(len, prompts), default=0)
        answers = self._sample(prompts, 2 * number + 1, max(1, self._longest - longest)) if prompts else []
        for (place, question), (body, whole) in zip(usable, answers, strict=True):
            answer = self._tokenizer.decode(body, skip_special_tokens=True).strip()
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            row = {"id": f"self-{number}-{place}", "messages": turns, "tokens": len(prompts[0]) + len(body)}
            yield (row, "") if answer and whole else (None, "empty" if whole else "unfinished")

    def _sample(
        self, prompts: list[list[int]], number: int, most: int, stops: tuple[int, ...] | None = None
    ) -> list[tuple[tuple[int, ...], bool]]:
        """(tokens without the one that stopped them, whether one did) for each prompt."""
        from bloomery.engine.protocol import Sampling

        seed = self._seed * 1_000_003 + number
        sampling = Sampling(max_new_tokens=most, temperature=1.0, seed=seed, stop_ids=stops)
        return [(c.body, c.finish_reason == "stop") for c in self._engine.generate(prompts, sampling)]

    def _opening(self) -> tuple[list[int], tuple[int, ...]]:
        """Ids up to where a user speaks, and those that end what one says."""
        from bloomery.core.template import Conversation
        from bloomery.models.template import template_of, unmarked

        template = template_of(self._tokenizer)
        assert template is not None  # a start without one counts as a base model
        [found] = template([Conversation([{"role": "user", "content": MARK}])])
        before, _, after = unmarked(found).partition(MARK)
        ids = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, after)]
        if not ids[0]:
            raise InputError(
                "the chat template has nothing before what a user says, so that no question can be sampled",
                where=Where(self._folder), fix="use `curated: proxy`, `embedded` or sources of your own",
            )  # fmt: skip
        return ids[0], (*ids[1][:1], *self._engine.stop_ids)
