"""Laws of the shipped families: rates agree with what is published, and every figure says how it is known."""

from __future__ import annotations

import re
import time
from functools import cache

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.families.lr import lr_at_tokens
from bloomery.families.registry import Family, all_families, read_family
from bloomery.families.rules import choose_start
from bloomery.families.schema import Checkpoint, FamilyFile

SERIES = {
    "olmo2": ["1b", "7b", "13b", "32b"],
    "olmo3": ["7b", "32b"],
    "smollm2": ["135m", "360m", "1.7b"],
    "smollm3": ["3b"],
    "marin": ["8b", "32b"],
    "apertus": ["8b", "70b"],
    "k2-v2": ["70b"],
    "nemotron3-nano": ["30b"],
    "pythia": ["14m", "31m", "70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"],
    "qwen3": ["0.6b", "1.7b", "4b", "8b", "14b"],
    "gemma3": ["1b", "4b", "12b", "27b"],
    "llama3": ["1b", "3b", "8b", "70b"],
}
DIFFERS = {
    # The report gives the floor of the schedule, the public script's formula more; why is not said.
    "olmo3-7b/pretrained": "the report",
    # The script ends after one epoch of a mix whose length is not stated.
    "olmo3-32b/pretrained": "the report",
}
"""Checkpoints whose published rate is not what the published schedule gives, and whose word the family file takes."""


@cache
def shipped() -> dict[str, Family]:
    paths = [*families_dir().glob("*.yaml"), families_dir() / "ember" / "family.yaml"]
    return {family.name: family for family in map(read_family, paths)}


def checkpoints() -> list[tuple[str, Checkpoint]]:
    return [(f"{f.name}/{stage}", c) for f in shipped().values() for stage, c in f.file.checkpoints.items()]


PUBLISHED = {name: c for name, c in checkpoints() if c.published_lr is not None and c.schedule}


def on_the_way(checkpoint: Checkpoint) -> bool:
    """Whether the rate is one between peak and end: elsewhere the formula can only repeat what it was given."""
    schedule, tokens = checkpoint.schedule, checkpoint.schedule_tokens or checkpoint.tokens
    return schedule is not None and schedule.horizon is not None and schedule.begin < tokens < 0.99 * schedule.horizon


BY_FORMULA = {name for name, c in PUBLISHED.items() if on_the_way(c) and name not in DIFFERS}


def test_every_series_is_there_in_every_size() -> None:
    assert set(shipped()) == {f"{series}-{size}" for series, sizes in SERIES.items() for size in sizes} | {"ember"}


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - set(DIFFERS)))
def test_the_computed_rate_is_the_published_one_within_half_a_per_cent(name: str) -> None:
    checkpoint = PUBLISHED[name]
    assert checkpoint.computed_lr() == pytest.approx(checkpoint.published_lr, rel=5e-3)
    assert checkpoint.saved_lr() == checkpoint.computed_lr()


def test_the_rate_that_olmo_3_re_warms_to_is_that_of_its_first_plan_at_two_trillion_tokens() -> None:
    """A third point on the way, of no shipped checkpoint: the 5T cosine at step 476,838, published to nine digits."""
    ran = shipped()["olmo3-7b"].file.checkpoints
    assert ran["pretrained"].schedule is not None and ran["midtrained"].schedule is not None
    planned = ran["pretrained"].schedule.model_copy(update={"horizon": 5_000_000_000_000, "stretch": None})
    rate = lr_at_tokens(planned, 476_838 * 4_194_304)
    assert rate == pytest.approx(ran["midtrained"].schedule.peak, rel=1e-6)


def test_the_formula_is_checked_at_three_rates_on_the_way_and_the_page_of_measurements_says_so() -> None:
    """A constant schedule and a decay at its end agree by construction, whatever the formula is: they do not count."""
    assert {"olmo2-1b/pretrained", "olmo2-7b/pretrained"} == BY_FORMULA
    assert {name for name, c in PUBLISHED.items() if on_the_way(c)} - BY_FORMULA == set(DIFFERS)
    given = len(PUBLISHED) - len(BY_FORMULA) - len(DIFFERS)
    page = (families_dir().parent / "docs" / "BENCH.md").read_text()
    assert f"{len(BY_FORMULA) + 1} by formula, {given} by construction, {len(DIFFERS)} differ" in page


@pytest.mark.parametrize("name", sorted(DIFFERS))
def test_a_rate_that_differs_is_stated_and_not_the_computed_one(name: str) -> None:
    checkpoint = PUBLISHED[name]
    assert checkpoint.lr == checkpoint.published_lr == checkpoint.saved_lr()
    assert checkpoint.computed_lr() != pytest.approx(checkpoint.lr, rel=5e-3)
    text = shipped()[name.split("/")[0]].path.read_text()
    assert DIFFERS[name] in text.lower()


def test_an_anneal_to_zero_ends_at_zero() -> None:
    ended = {name: c.computed_lr() for name, c in PUBLISHED.items() if c.published_lr == 0}
    assert len(ended) >= 8
    assert {name: rate for name, rate in ended.items() if rate} == {}


def test_tokens_in_the_name_of_a_revision_are_those_of_the_file() -> None:
    checked = 0
    for name, checkpoint in checkpoints():
        stated = re.search(r"tokens(\d+)(B|T)$", checkpoint.revision or "")
        if stated and checkpoint.stage == "pre":
            checked += 1
            assert checkpoint.tokens == pytest.approx(int(stated[1]) * {"B": 1e9, "T": 1e12}[stated[2]], rel=1e-3), name
    assert checked >= 7


def test_tokens_are_steps_times_batch_where_the_revision_names_its_step() -> None:
    checked = 0
    for name, checkpoint in checkpoints():
        step = re.search(r"(?:^|-)step-?(\d+)", checkpoint.revision or "")
        family = name.split("-")[0]
        if step and checkpoint.stage == "pre" and checkpoint.batch_tokens and family != "apertus":  # its batch doubled
            checked += 1
            assert checkpoint.tokens == int(step[1]) * checkpoint.batch_tokens, name
    assert checked >= 15


def test_apertus_made_as_many_steps_as_its_last_revision_says() -> None:
    samples, row = 3_662_109_375, 4096
    for name, batch, doubled_at in (("apertus-8b", 1024, 1_718_272_000), ("apertus-70b", 2048, 1_072_164_864)):
        steps = doubled_at // batch + (samples - doubled_at) // (2 * batch)
        checkpoint = shipped()[name].file.checkpoints["midtrained"]
        assert checkpoint.revision == f"step{steps}-tokens15T"
        assert checkpoint.batch_tokens == 2 * batch * row


def test_every_family_says_how_its_figures_are_known_and_where_they_come_from() -> None:
    for family in shipped().values():
        assert family.file.evidence.get("default"), family.name
        assert family.file.sources, family.name


def test_every_family_says_which_transformers_it_needs_but_the_one_that_is_made_here() -> None:
    needs = {name: family.file.transformers for name, family in shipped().items()}
    assert [name for name, least in needs.items() if least is None] == ["ember"]


def test_what_is_closed_has_no_mix_and_what_is_gated_says_so() -> None:
    for family in shipped().values():
        assert not (family.file.data == "closed" and family.mixes), family.name
        licence = family.file.licence
        assert family.file.gated or not licence.startswith(("Llama", "Gemma")), family.name
        for mix in family.mixes.values():
            assert all(source.licence for source in mix), family.name


def test_a_family_without_a_mid_checkpoint_names_another_one() -> None:
    for name in ("llama3-8b", "qwen3-8b", "gemma3-4b", "pythia-1b"):
        with pytest.raises(InputError, match="has no checkpoint `midtrained`") as caught:
            shipped()[name].checkpoint("midtrained")
        assert caught.value.fix == "use `start: pretrained`"


@pytest.mark.parametrize(
    ("name", "kind", "tokens", "stage"),
    [
        ("olmo2-1b", "text", 1e6, "midtrained"),
        ("olmo2-1b", "text", 1e12, "pretrained"),
        ("olmo2-1b", "sft", 1e5, "posttrained"),
        ("marin-8b", "text", 1e6, "midtrained"),  # not the warmer first cooldown, which a better one replaced
        ("marin-8b", "text", 1e12, "pretrained"),
        ("olmo3-7b", "sft", 1e9, "long-context"),  # what its own fine-tuning began from
        ("llama3-8b", "text", 1e6, "pretrained"),
        ("marin-32b", "text", 1e12, "midtrained"),
    ],
)
def test_auto_chooses_a_sensible_start(name: str, kind: str, tokens: float, stage: str) -> None:
    assert choose_start(shipped()[name], kind, tokens)[0] == stage  # type: ignore[arg-type]


def test_classes_follow_from_the_rates() -> None:
    heat = {name: checkpoint.heat() for name, checkpoint in checkpoints()}
    assert heat["smollm3-3b/pretrained"] == heat["marin-8b/pretrained"] == heat["apertus-8b/pretrained"] == "hot"
    assert heat["olmo2-1b/pretrained"] == heat["olmo3-7b/pretrained"] == "warm"
    assert heat["k2-v2-70b/pretrained"] == heat["llama3-8b/pretrained"] == heat["olmo2-7b/midtrained"] == "cold"


def test_the_more_specific_word_about_evidence_wins() -> None:
    olmo = shipped()["olmo3-7b"].file
    assert olmo.evidence_of("checkpoints.pretrained.revision") == "secondary"
    assert olmo.evidence_of("checkpoints.pretrained.published_lr") == "primary"
    assert olmo.evidence_of("curated.think-sft.0.hf") == "recalled"
    assert olmo.evidence_of("curated.midtrained.0.licence") == "secondary"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"evidence": {"checkpoints.b.revision": "secondary"}}, "is about no key of the family"),
        ({"evidence": {"default": "guessed"}}, "evidence.default"),
        ({"checkpoints": {"a": {"repo": "x/y", "revision": "main", "commit": "abc"}}}, "commit"),
        (
            {"curated": {"a": [{"name": "n", "hf": "x/y", "share": 1, "parts": {"web": 0.5}}]}},
            "sum to 50.00%",
        ),
    ],
)
def test_a_wrong_field_is_refused(change: dict[str, object], says: str) -> None:
    base = {
        "name": "t",
        "title": "T",
        "licence": "MIT",
        "architecture": "LlamaForCausalLM",
        "parameters": 1,
        "context": 8,
    }
    stages = {"checkpoints": {"a": {"repo": "x/y", "revision": "main"}}}
    with pytest.raises(ValueError, match=re.escape(says)):
        FamilyFile.model_validate({**base, "tokenizer": "hub", **stages, **change})


def test_all_families_are_read_within_a_second_of_computing() -> None:
    """A fifth of a second where this was written; a reader that is slower by much would be felt in `families list`."""
    all_families()  # imports
    began = time.process_time()
    assert len(all_families()[0]) >= 40
    assert time.process_time() - began < 1.0
