from __future__ import annotations

from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from bloomery.core.errors import InputError
from bloomery.lineage.card import CardFacts, Measure, SourceShare, model_card
from bloomery.lineage.licence import HUB, hub_licence

FACTS = CardFacts(
    name="handbook-1",
    licence="apache-2.0",
    base_model="ember/midtrained",
    ancestry=["ember/midtrained"],
    blend=[
        SourceShare("/home/alice/secret-plan/handbook.md", 0.3, 0.3001, 300_000, 1.5, curated=False),
        SourceShare("documentation", 0.7, 0.6999, 700_000, 0.1, curated=True, licence="PSF-2.0"),
    ],
    measures=[
        Measure("general", "bits per byte", 1.71, 1.72, -0.002, 0.018, 400),
        Measure("no: yes", "accuracy", 0.5, 0.75),
    ],
    training={"steps": 120, "peak learning rate": 3e-4},
    versions={"torch": "2.13.0"},
    verdict="within",
)


def test_the_front_matter_is_yaml_that_says_what_the_tables_say() -> None:
    _, matter, body = model_card(FACTS).split("---\n", 2)
    front = YAML(typ="safe").load(matter)
    assert front["license"] == "apache-2.0"
    assert front["base_model"] == "ember/midtrained"
    assert front["metrics"] == ["accuracy", "bits per byte"]
    assert front["model-index"][0]["results"][1]["dataset"]["name"] == "no: yes"
    assert "| general | bits per byte | 1.71 | 1.72 | +0.01 | -0.002 to +0.018 | 400 |" in body
    assert "| documentation | curated | 70.0% | 70.0% | 700,000 | 0.10 | PSF-2.0 |" in body
    assert "Lineage: handbook-1 ← ember/midtrained" in body


def test_a_sources_folder_is_not_published() -> None:
    text = model_card(FACTS)
    assert "handbook.md" in text
    assert "alice" not in text
    assert "secret-plan" not in text


@pytest.mark.parametrize("row", ["a user's\nwhole row", "x" * 300])
def test_nothing_as_long_as_a_row_gets_in(row: str) -> None:
    with pytest.raises(InputError, match="cannot stand in a model card"):
        model_card(replace(FACTS, blend=[replace(FACTS.blend[0], name=row)]))
    with pytest.raises(InputError, match="cannot stand in a model card"):
        model_card(replace(FACTS, measures=[Measure(row, "accuracy", 0, 1)]))


def test_a_name_cannot_write_markup_into_the_card() -> None:
    text = model_card(replace(FACTS, blend=[replace(FACTS.blend[0], name="a|b<script>[x](y)")]))
    assert "<script>" not in text.replace("\\<", "")
    assert "a\\|b" in text


def test_what_was_not_measured_is_said() -> None:
    assert "This model was not evaluated." in model_card(replace(FACTS, measures=[]))


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("Apache 2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("CC0", "cc0-1.0"),
        ("BSD-3-Clause", "bsd-3-clause"),
        ("ODC-By", "odc-by"),
        ("ODC-By-1.0", "odc-by"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("LGPL-2.1-only", "lgpl-2.1"),
        ("GFDL-1.3-only", "gfdl"),
        ("Gemma Terms of Use", "gemma"),
        ("Llama 3.1 Community License", "llama3.1"),
        ("Llama 3.2 Community License Agreement", "llama3.2"),
        ("unknown", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_licence_is_named_as_the_hub_does(licence: str, told: str) -> None:
    assert hub_licence(licence) == {"license": told}
    assert told in HUB


@pytest.mark.parametrize(
    ("licence", "name"),
    [
        ("NVIDIA Nemotron Open Model License", "nvidia-nemotron-open-model-license"),
        ("ODC-By, parts non-commercial", "odc-by-parts-non-commercial"),
        ("PSF-2.0", "psf-2.0"),
    ],
)
def test_a_licence_that_the_hub_does_not_list_is_another_one_with_a_name(licence: str, name: str) -> None:
    _, matter, _ = model_card(replace(FACTS, licence=licence)).split("---\n", 2)
    front = YAML(typ="safe").load(matter)
    assert (front["license"], front["license_name"]) == ("other", name)


def test_every_shipped_family_has_a_licence_that_a_card_can_name() -> None:
    from bloomery.families.registry import family_files, load_family

    told = {family: hub_licence(load_family(family).file.licence)["license"] for family in family_files()}
    other = {family for family, name in told.items() if name == "other"}
    assert other == {"nemotron3-nano-30b"}
