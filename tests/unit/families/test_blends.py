"""Laws of the presets: whatever a run starts from, what it is blended with sums to 100 % and has both categories."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.data.hubfiles import Dataset, members
from bloomery.families.describe import described
from bloomery.families.registry import PROXIES, Family, added_sources, load_family, proxy_mix, read_family
from bloomery.families.schema import CuratedSource

BOTH = {"safety", "instruction-following"}
SHIPPED = [
    read_family(path) for path in sorted([*families_dir().glob("*.yaml"), *families_dir().glob("*/family.yaml")])
]

MATHS = ("finemath-3plus", "finemath-4plus", "infiwebmath-3plus", "infiwebmath-4plus")
LANGUAGES = (
    "arb_Arab cmn_Hani deu_Latn ell_Grek fas_Arab fra_Latn ita_Latn jpn_Jpan por_Latn rus_Cyrl spa_Latn vie_Latn"
)
CARDS = {
    "HuggingFaceTB/finemath": {name: {"train": f"{name}/train-*"} for name in MATHS},
    "HuggingFaceTB/smoltalk2": {
        "Mid": {"OpenThoughts3_1.2M": "Mid/OpenThoughts3_1.2M-*", "Llama_Nemotron": "Mid/Llama_Nemotron-*"},
        "SFT": {"s1k_1.1_think": "SFT/s1k_1.1_think-*", "OpenThoughts3_1.2M_think": "SFT/OpenThoughts3_1.2M_think-*"},
    },
    "HuggingFaceFW/fineweb-2": {
        name: {"train": f"data/{name}/train/*", "test": f"data/{name}/test/*"}
        for name in ("dan_Latn", "hin_Deva", "kor_Hang", "tha_Thai")
    },
    "epfml/FineWeb2-HQ": {name: {"train": f"{name}/*"} for name in LANGUAGES.split()},
}
"""Configurations and splits of data sets without a default, from their cards: what names none, or another, fails."""


def recorded(repo: str) -> Dataset:
    """A data set as its card has it, with a file for each split."""
    configs = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in splits.items()]}
        for name, splits in CARDS[repo].items()
    ]
    files = [path.replace("*", "0.parquet") for splits in CARDS[repo].values() for path in splits.values()]
    return Dataset(repo, "a" * 40, None, tuple(configs), dict.fromkeys(files, 1))


def categories(mix: list[CuratedSource]) -> dict[str, float]:
    found: dict[str, float] = {}
    for source in mix:
        found[source.kind] = found.get(source.kind, 0.0) + source.share
    return found


def preset(family: Family, stage: str) -> list[CuratedSource]:
    """What continuing from a stage is blended with when the recipe says nothing."""
    name = family.mix_name(stage)
    return family.mix(name) if name else proxy_mix("proxy", family.checkpoint(stage).stage)


@pytest.mark.parametrize("family", SHIPPED, ids=lambda family: family.name)
def test_every_preset_has_both_categories_and_sums_to_100(family: Family) -> None:
    for stage in family.file.checkpoints:
        found = categories(preset(family, stage))
        assert found.keys() >= BOTH, (family.name, stage)
        assert min(found[kind] for kind in BOTH) >= 0.01 - 1e-9
        assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("family", SHIPPED, ids=lambda family: family.name)
def test_a_family_without_a_mix_says_that_its_data_is_not_open(family: Family) -> None:
    if any(family.mix_name(stage) is None for stage in family.file.checkpoints):
        assert family.file.data in ("closed", "partial")


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("stage", ["pre", "mid", "post"])
def test_every_proxy_has_both_categories_and_sums_to_100(name: str, stage: str) -> None:
    found = categories(proxy_mix(name, stage))
    assert found.keys() >= BOTH and sum(found.values()) == pytest.approx(1)


def test_the_embedded_proxy_needs_no_network() -> None:
    assert all(source.builtin for stage in ("pre", "mid", "post") for source in proxy_mix("embedded", stage))


def test_before_fine_tuning_safety_rows_are_plain_text() -> None:
    early = [
        s for f in SHIPPED for stage, c in f.file.checkpoints.items() if c.stage != "post" for s in preset(f, stage)
    ]
    assert all(source.as_text for source in early if source.kind == "safety")


def test_what_is_added_leaves_published_proportions_alone() -> None:
    mix = load_family("smollm3-3b").mix("pretrained")
    share = {source.name: source.share for source in mix}
    assert share["fineweb-edu"] / share["dclm"] == pytest.approx(0.333 / 0.37, rel=1e-3)
    assert mix[-2:] == added_sources("text")
    assert "1.00%  coconot (safety): allenai/coconot/original, ODC-By  [added]" in described(load_family("smollm3-3b"))


def test_a_source_names_the_configuration_and_split_that_its_data_set_has() -> None:
    stand_ins = [source for stage in ("pre", "mid", "post") for source in proxy_mix("proxy", stage)]
    sources = [source for family in SHIPPED for mix in family.mixes.values() for source in mix] + stand_ins
    known = [source for source in sources if source.hf in CARDS]
    assert {source.hf for source in known} == set(CARDS)
    for source in known:
        assert members(recorded(str(source.hf)), source.config, source.split or "train"), source.name


def test_what_stands_in_says_for_what() -> None:
    web = load_family("marin-8b").mix("starling")[0]
    assert web.stands_for == "Nemotron-CC" and "stands_for" not in web.spec()
    assert "ODC-By  [computed]  [in place of Nemotron-CC]\n" in described(load_family("marin-8b"))
    assert "ODC-By  [computed]  [in place of dolmino-mix-0324]" in described(load_family("olmo2-32b"))


def test_adding_to_a_mix_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\ntitle: Own\nlicence: MIT\narchitecture: LlamaForCausalLM\nparameters: 1M\ncontext: 64\n"
        "tokenizer: hub\ncheckpoints:\n  base: {folder: weights}\n"
        "curated:\n  base: [{name: a, path: a.jsonl, share: 100%}]\nadded: {bass: text}\n"
    )
    with pytest.raises(InputError, match=r"`added.bass` is no mix.*did you mean `base`") as refused:
        read_family(path)
    assert refused.value.where is not None and refused.value.where.line == 12
