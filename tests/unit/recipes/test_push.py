"""Only what is a model leaves the machine; an export goes to one place, and a GGUF file comes with its comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bloomery.cli import main
from bloomery.core.errors import InputError
from bloomery.core.files import verify_folder
from bloomery.recipes.push import push, sendable

EMBER = Path(__file__).parents[3] / "families/ember"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    names = ("config.json", "model.safetensors", "tokenizer.json", "README.md", "data-receipt.json", "manifest.json")
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_a_push_holds_the_model_and_its_card_and_leaves_the_receipt_here(tmp_path: Path, model: Path) -> None:
    sent = sendable(model, tmp_path / "sent")
    names = {path.name for path in sent.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "README.md", "manifest.json"}
    assert verify_folder(sent) == {"kind": "model"}


@pytest.mark.parametrize("name", ["rows.jsonl", "pytorch_model.bin", "modeling_x.py", "adapter/a.safetensors", ".env"])
def test_anything_else_stops_the_push_by_name(tmp_path: Path, model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("{}")
    with pytest.raises(InputError, match=f"`{name}` is no part of a model"):
        sendable(model, tmp_path / "sent")
    assert not (tmp_path / "sent").exists()


def test_a_secret_in_a_file_and_a_link_out_stop_the_push(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-1234567890")
    (model / "README.md").write_text("call it with sk-1234567890")
    with pytest.raises(InputError, match=r"`README\.md` holds the value of MY_API_KEY") as refused:
        sendable(model, tmp_path / "sent")
    assert "sk-1234567890" not in str(refused.value)
    (model / "README.md").unlink()
    (model / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match=r"`README\.md` is no part of a model"):
        sendable(model, tmp_path / "sent")


def test_places_that_are_none_and_models_that_are_no_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("org/name", "hf:name", "hf:a/b/c", "hf:a b/c"):
        with pytest.raises(InputError, match=r"names no repository\n  fix: write `hf:owner/name`"):
            push("demo", place)
    with pytest.raises(InputError, match="`ember/posttrained` is no run"):
        push("ember/posttrained", "hf:org/name")


def test_an_export_goes_to_one_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), (str(tmp_path / "x"), "--to", "hf:a/b"), ("--to", "hf:a/b", "--gguf", "f16")):
        with pytest.raises(SystemExit) as ended:
            main(["export", "ember/posttrained", *arguments])
        assert ended.value.code == 2
        assert "an export goes to one place" in capsys.readouterr().err


@pytest.mark.skipif(not (EMBER / "posttrained/model.safetensors").is_file(), reason="needs ember's weights")
def test_a_stage_becomes_a_file_beside_its_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    target = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["export", "ember/posttrained", str(target), "--gguf", "q8_0"])
    assert ended.value.code == 0
    assert "ember-posttrained-q8_0.gguf" in (told := capsys.readouterr().out)
    assert "perplexity" in told
    compared = json.loads((target / "compared.json").read_text())
    assert abs(compared["perplexity_change"]) < 0.02
    assert compared["same_best"] > 0.9
    assert verify_folder(target) == {"kind": "gguf", "of": "ember/posttrained"}
    with pytest.raises(SystemExit) as ended:
        main(["export", "ember/posttrained", str(target), "--gguf", "q8_0"])
    assert ended.value.code == 2
    assert "exists already" in capsys.readouterr().err
