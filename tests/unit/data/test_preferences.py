"""Preferences: two answers to one prompt are one unit of the blend, and only what answers the prompt is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tokens import UNMARKED, jsonl, tokenizer_folder

from bloomery.core.errors import InputError
from bloomery.core.rows import Segment, TokenRow
from bloomery.data.blend import Blend
from bloomery.data.config import SourceSpec
from bloomery.data.loader import rows_of
from bloomery.data.pairs import row_table
from bloomery.data.receipt import data_receipt
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.show import show_rows
from bloomery.data.store import TokenStore, build_store
from bloomery.data.vocabulary import load_tokenizer

Rows = list[dict[str, Any]]
HH = "\n\nHuman: Is it late?\n\nAssistant: It is nine.\n\nHuman: So?\n\nAssistant:"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def pairs(count: int) -> Rows:
    return [
        {"id": f"p{i}", "prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": f"{i} is late, so {i} sleeps."}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_folder(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def stored(folder: Path, tmp_path: Path) -> Any:
    """A store of some rows."""

    def store(rows: Rows, tokenizer: Path = folder, **spec: Any) -> TokenStore:
        jsonl(tmp_path / "rows.jsonl", rows)
        asked = SourceSpec(path="rows.jsonl", name="rows", **spec)
        return build_store("rows", asked, tmp_path, Renderer(tokenizer), tmp_path / "cache", workers=1)

    return store


def told(folder: Path, row: TokenRow, part: str = "pref") -> tuple[str, str]:
    """(whole row, what of it is compared) as text."""
    decode = load_tokenizer(folder)
    compared = row.ids[row.weight[part] != 0]
    return decode.decode(row.ids.tolist(), False), decode.decode(compared.tolist(), False)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "So?", "chosen": "Fine.", "rejected": "What?"},
        {"prompt": [user("So?")], "chosen": [assistant("Fine.")], "rejected": [assistant("What?")]},
        {"chosen": [user("So?"), assistant("Fine.")], "rejected": [user("So?"), assistant("What?")]},
        {"prompt": "So?", "chosen": [user("So?"), assistant("Fine.")], "rejected": [user("So?"), assistant("What?")]},
        {"chosen": "\n\nHuman: So?\n\nAssistant: Fine.", "rejected": "\n\nHuman: So?\n\nAssistant: What?"},
    ],
)
def test_every_way_to_write_a_pair_gives_the_same_two_rows(stored: Any, folder: Path, row: dict[str, Any]) -> None:
    chosen, rejected = row_table(stored([row]), 64, objective="dpo").rows(0)
    asked = "<|im_start|>user\nSo?<|im_end|><|im_start|>assistant\n"
    assert told(folder, chosen) == (f"{asked}Fine.<|im_end|>", "Fine.<|im_end|>")
    assert told(folder, rejected) == (f"{asked}What?<|im_end|>", "What?<|im_end|>")
    assert chosen.group_id == rejected.group_id is not None
    assert set(chosen.weight["pref"]) == {0, 1} and set(rejected.weight["pref"]) == {0, -1}


@pytest.mark.parametrize("template", [None, UNMARKED])
def test_turns_that_both_begin_with_are_prompt(stored: Any, tmp_path: Path, folder: Path, template: str | None) -> None:
    at = folder if template is None else tokenizer_folder(tmp_path / "unmarked", template)
    table = row_table(stored([{"chosen": f"{HH} Sleep.", "rejected": f"{HH} Run."}], at), 128, objective="dpo")
    assert [told(at, row)[1] for row in table.rows(0)] == ["Sleep.<|im_end|>", "Run.<|im_end|>"]
    assert "It is nine." in told(at, table.rows(0)[0])[0]


def test_a_pair_of_a_model_without_a_template_is_plain_text(stored: Any, tmp_path: Path) -> None:
    plain = tokenizer_folder(tmp_path / "plain", template=None)
    chosen, _ = row_table(stored(pairs(1), plain), 64, objective="dpo").rows(0)
    assert told(plain, chosen) == ("What is 0?\nIt is 0.<|endoftext|>", "It is 0.<|endoftext|>")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "chosen": "same", "rejected": "same"}, "`chosen` and `rejected` are the same"),
        ({"prompt": "a", "chosen": " ", "rejected": "b"}, "`chosen` is empty"),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, "`rejected` is empty"),
        ({"chosen": "b", "rejected": "c"}, "do not answer one prompt"),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("b")]},
            "do not answer one prompt",
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": None},
            r"column `rejected` \(rejected\) must hold text, it is empty",
        ),
        (
            {"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "b", "rejected": "c"},
            "a part of type `image`",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "image": "x.png"}, "has a column `image`"),
    ],
)
def test_a_pair_that_teaches_nothing_is_refused_or_counted(stored: Any, row: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        stored([*pairs(3), row])
    kept = stored([*pairs(9), row], bad_rows="skip", drop_limit=0.2)
    (reason,) = kept.stats.dropped
    assert kept.stats.kept == 9 and kept.stats.dropped[reason] == 1


@pytest.mark.parametrize(
    ("good", "bad"), [(True, False), (1, 0), ("desirable", "undesirable"), ("True", "false"), (1.0, 0.0)]
)
def test_a_judged_answer_is_one_row_on_its_side(stored: Any, folder: Path, good: Any, bad: Any) -> None:
    rows = [{"prompt": "So?", "completion": said, "label": label} for said, label in (("Fine.", good), ("What?", bad))]
    store = stored(rows)
    table = row_table(store, 64, objective="kto")
    assert store.shape == "judged" and table.to_json()["desirable"] == table.to_json()["undesirable"] == 1
    (chosen, _), (rejected, _) = table.rows(0), table.rows(1)
    assert chosen.weight["pref"].sum() > 0 > rejected.weight["pref"].sum()
    assert (told(folder, chosen)[1], told(folder, rejected)[1]) == ("Fine.<|im_end|>", "What?<|im_end|>")


def test_a_label_of_another_kind_leaves_answers_to_be_learned(stored: Any) -> None:
    assert stored([{"prompt": "a", "completion": "b", "label": "sports"}]).shape == "prompt"
    with pytest.raises(InputError, match=r"`label` must be true or false.*'maybe'"):
        stored([{"prompt": "a", "completion": "b", "label": x} for x in (True, "maybe")])


def test_kto_judges_the_answers_of_a_pair_alone_and_measures_them_under_another_prompt(
    stored: Any, folder: Path
) -> None:
    table = row_table(stored(pairs(3)), 64, objective="kto")
    chosen, measured, rejected, _ = table.rows(1)
    assert chosen.group_id is None and rejected.group_id is None
    assert set(measured.weight) == {"kl"}
    whole, compared = told(folder, measured, "kl")
    assert "What is 1?" in whole and compared.startswith("It is 0.<|im_end|>")
    assert "It is 2." in told(folder, table.rows(0)[1], "kl")[1]  # the first follows the last
    assert len(row_table(stored(pairs(3)), 30, drop_limit=1, objective="kto").rows(0)[1]) <= 30


@pytest.mark.parametrize(("objective", "size"), [("dpo", 1.0), ("ipo", None), ("orpo", None)])
def test_ipo_and_orpo_take_means_and_orpo_learns_what_is_chosen(
    stored: Any, objective: str, size: float | None
) -> None:
    chosen, rejected = row_table(stored(pairs(2)), 64, objective=objective).rows(0)
    for row, sign in ((chosen, 1), (rejected, -1)):
        weights = row.weight["pref"][row.weight["pref"] != 0]
        assert weights == pytest.approx(sign * (size or 1 / len(weights)))
    assert ("ce" in chosen.weight) == (objective == "orpo") and "ce" not in rejected.weight


def test_a_pair_is_one_unit_as_long_as_both_its_rows(stored: Any) -> None:
    table = row_table(stored(pairs(30)), 64, objective="dpo")
    assert table.lengths.tolist() == [sum(map(len, table.rows(i))) for i in range(30)]
    assert table.trained.tolist() == [sum(r.trained("pref") for r in table.rows(i)) for i in range(30)]
    blend = Blend({"rows": table}, [Segment(0, {"rows": 1.0})], 200, 0)
    for step in range(8):
        groups = [row.group_id for row in rows_of(blend.step(step), {"rows": table})]
        assert all(groups.count(group) == 2 for group in groups)
    receipt = data_receipt({"rows": table}, blend)["sources"]["rows"]
    assert receipt["cut"]["pairs"] == 30 and receipt["taken"]["tokens"] == blend.realised()["rows"]
    assert receipt["taken"]["rows"] == sum(
        len(Blend({"rows": table}, blend.segments, 200, 0).step(k)) for k in range(8)
    )


def test_a_pair_with_a_side_that_is_too_long_is_dropped_whole_and_counted(stored: Any) -> None:
    long = {"id": "long", "prompt": "a", "chosen": "b", "rejected": "and then it sleeps " * 20}
    store = stored([*pairs(3), long])
    table = row_table(store, 64, drop_limit=0.5, objective="dpo")
    assert len(table) == 3 and (table.cuts.dropped, table.cuts.dropped_tokens) == (1, int(store.lengths[3]))
    with pytest.raises(InputError, match="1 of 4 rows are longer than the context"):
        row_table(store, 64, objective="dpo")
    with pytest.raises(InputError, match="`overlong: split` would cut one of two answers"):
        row_table(store, 64, "split", objective="dpo")
    # two sides that fit the context one by one make a row longer than it
    assert int(row_table(stored(pairs(3)), 40, objective="dpo").lengths.max()) > 40


def test_rows_and_objective_must_suit_each_other(stored: Any) -> None:
    with pytest.raises(InputError, match="`rows` holds pairs of answers: no rows for `objective: sft`"):
        row_table(stored(pairs(2)), 64, objective="sft")
    judged = stored([{"prompt": "a", "completion": "b", "label": True}])
    with pytest.raises(InputError, match="judged answers: no rows for `objective: dpo`"):
        row_table(judged, 64, objective="dpo")
    assert type(row_table(stored([{"text": "It is late."}]), 64, objective="dpo")) is RowTable


def test_show_says_which_is_chosen_and_which_rejected(stored: Any, folder: Path) -> None:
    console = Console(width=100, no_color=True, record=True)
    show_rows(row_table(stored(pairs(1)), 64, objective="dpo").rows(0), folder, console)
    said = console.export_text()
    assert "rows · p0 · chosen" in said and "rows · p0 · rejected" in said
    assert "⟦It is 0.<|im_end|>⟧" in said and "⟦0 is late, so 0 sleeps.<|im_end|>⟧" in said


def test_the_same_pair_turned_round_is_another_row(stored: Any) -> None:
    (row,) = pairs(1)
    turned = row | {"chosen": row["rejected"], "rejected": row["chosen"]}
    assert len(np.unique(stored([row, turned]).digests)) == 2


def nova(*labels: str) -> dict[str, Any]:
    said = [{"content": [{"text": f"answer {n}"}], "preferenceLabel": label} for n, label in enumerate(labels)]
    asked = {"role": "user", "content": [{"text": "What is it?"}]}
    return {"system": [{"text": "Be brief."}], "messages": [asked, {"role": "assistant", "candidates": said}]}


def test_candidates_of_a_conversation_are_a_pair_like_any_other(stored: Any) -> None:
    plain = {"system": "Be brief.", "prompt": "What is it?", "chosen": "answer 1", "rejected": "answer 0"}
    one, other = stored([nova("non-preferred", "preferred")]), stored([plain])
    assert one.shape == other.shape == "preference"
    assert (one.document(0)[0].tolist(), one.desired.tolist()) == (
        other.document(0)[0].tolist(),
        other.desired.tolist(),
    )


@pytest.mark.parametrize(
    ("labels", "says"),
    [(("preferred",), "here are 1"), (("preferred",) * 2, "one non-preferred; here are 2"),
     (("preferred", "non-preferred", "non-preferred"), "here are 3"), (("preferred", "no"), "is unknown")],
)  # fmt: skip
def test_candidates_that_are_no_pair_are_refused_with_their_row(
    stored: Any, labels: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says) as refused:
        stored([nova("preferred", "non-preferred"), nova(*labels)])
    assert "rows.jsonl:2" in str(refused.value)
