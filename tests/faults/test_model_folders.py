"""Hostile model folders are refused, with file and key named, before any library reads them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.template import ChatTemplate, Conversation
from bloomery.models import guard
from bloomery.models.load import load_model, load_tokenizer, new_model
from bloomery.models.lora import load_lora

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "_name_or_path": "org/some model, at a URL: https://example.org",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "an_unknown_number": 3,
}


PICKLED = ("pytorch_model.bin", "training_args.bin")


class Canary:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def folder(path: Path, config: Any = None, **files: str | bytes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (path / name).write_bytes(data)
    return path


def test_an_ordinary_folder_passes(tmp_path: Path) -> None:
    guard.check_folder(folder(tmp_path / "m", **{"generation_config.json": json.dumps({"eos_token_id": 2})}))


REMOTE = "someone/evil"
PLANTED: list[dict[str, Any]] = [
    {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}},
    {"auto_map": {"AutoConfig": f"{REMOTE}--configuration.Evil"}},
    {"text_config": {"model_type": "llama", "auto_map": {"AutoModel": "evil.Evil"}}},
    {"text_config": {"inner": [{"deep": {"auto_map": {"AutoModel": "evil.Evil"}}}]}},
    {"trust_remote_code": True},
    {"text_config": {"trust_remote_code": True}},
    {"Trust_Remote_Code": 1},
    {"attn_implementation": "kernels-community/evil"},
    {"_attn_implementation": f"{REMOTE}:kernel"},
    {"_attn_implementation_internal": "paged|someone"},
    {"text_config": {"_attn_implementation": REMOTE}},
    {"use_kernels": True},
    {"kernel_config": {"RMSNorm": REMOTE}},
    {"hub_kernels": REMOTE},
    {"custom_generate": REMOTE},
    {"quantization_config": {"quant_method": "evil", "quantizer": "evil.Quantizer"}},
    {"text_config": {"quantization_config": {"quant_method": "gptq"}}},
    {"custom_pipelines": {"x": {"impl": "evil.Pipe"}}},
    {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}},
    {"model_file": "evil.py"},
    {"code_revision": "main"},
    {"hidden_act": "../../evil"},
    {"hidden_act": "__import__('os').system('x')"},
    {"a_new_setting": REMOTE},
    {"a_new_setting": {"nested": ["evil.py"]}},
    {"rope_parameters": {"rope_type": "https://example.org/x"}},
    {"architectures": ["os;rm"]},
    {"model_type": "no_such_model"},
    {"model_type": "../llama"},
    {"model_type": None},
    {"num_hidden_layers": 10**9},
    {"text_config": {"num_attention_heads": -1}},
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: json.dumps(p)[:60])
def test_a_config_that_asks_for_code_is_refused_by_name(planted: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load_model(folder(tmp_path / "m", CONFIG | planted))
    assert "config.json" in str(refusal.value)
    assert next(iter(planted)) in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["generation_config.json", "tokenizer_config.json", "adapter_config.json", "processor_config.json"]
)
@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "custom_generate", "auto_mapping"])
def test_every_json_file_is_searched(name: str, key: str, tmp_path: Path) -> None:
    where = folder(tmp_path / "m", **{name: json.dumps({"a": [{key: {"x": "evil.Evil"}}]})})
    for load in (load_model, load_tokenizer):
        with pytest.raises(InputError, match=key):
            load(where)


@pytest.mark.parametrize("suffix", sorted(guard.PICKLES | guard.CODE))
def test_pickles_and_code_are_refused_and_never_opened(suffix: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Canary(canary))
    for stem in ("pytorch_model", "training_args", "MODEL.SAFETENSORS"):
        where = folder(tmp_path / stem, **{f"{stem}{suffix}": payload, f"x{suffix.upper()}": payload})
        for load in (load_model, load_tokenizer):
            with pytest.raises(InputError, match="safetensors"):
                load(where)
    assert not canary.exists()


@pytest.mark.parametrize("sharded", [False, True])
def test_pickles_beside_complete_safetensors_are_passed_over_and_never_opened(sharded: bool, tmp_path: Path) -> None:
    where, canary = tmp_path / "m", tmp_path / "canary"
    new_model(CONFIG, 0, check=False).model.save_pretrained(where, max_shard_size="2KB" if sharded else "1GB")
    assert (where / "model.safetensors").exists() != sharded
    for name in (*PICKLED, "flax_model.msgpack"):
        (where / name).write_bytes(pickle.dumps(Canary(canary)))
    (where / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"x": "pytorch_model.bin"}}))
    assert [path.name for path in guard.unopened(where)] == ["flax_model.msgpack", *PICKLED]
    load_model(where, check=False)
    assert not canary.exists()
    next(where.glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match=r"weights must be safetensors"):
        load_model(where, check=False)
    assert not canary.exists()


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(BloomeryError):
        load_model(folder(tmp_path / "m", **{"model.safetensors": pickle.dumps(Canary(canary))}))
    assert not canary.exists()


@pytest.mark.parametrize(
    "shard", ["../../etc/passwd", "/etc/passwd", "x.bin", "sub/x.safetensors", "..\\x.safetensors", ""]
)
def test_an_index_names_files_of_its_folder_only(shard: str, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"lm_head.weight": shard}})
    with pytest.raises(InputError, match="shard"):
        load_model(folder(tmp_path / "m", **{"model.safetensors.index.json": index}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "null",
        "3",
        "[1]",
        '{"model_type": ',
        "{" * 500,
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"a":' * 40 + "1" + "}" * 40,
    ],
    ids=range(9),
)
def test_a_config_that_is_no_config_is_refused(text: str, tmp_path: Path) -> None:
    where = folder(tmp_path / "m")
    (where / "config.json").write_text(text)
    with pytest.raises(InputError):
        load_model(where)


def test_a_giant_or_binary_config_is_refused(tmp_path: Path) -> None:
    where = folder(tmp_path / "m")
    (where / "config.json").write_bytes(b'{"x": "' + b"a" * guard.MAX_JSON + b'"}')
    with pytest.raises(InputError, match="larger than"):
        load_model(where)
    (where / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not readable"):
        load_model(where)


def test_a_missing_folder_or_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        load_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "planted",
    [
        {"peft_type": "PREFIX_TUNING"},
        {"peft_type": "LORA", "auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}},
        {"peft_type": "LORA", "runtime_config": {"trust_remote_code": True}},
    ],
)
def test_adapters_that_ask_for_more_than_lora_are_refused(planted: dict[str, Any], tmp_path: Path) -> None:
    import torch

    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "target_modules": ["q_proj"], **planted}))
    with pytest.raises(InputError):
        load_lora(torch.nn.Module(), tmp_path)


BAD_TEMPLATES = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "giant string": "{{ 'a' * 10 ** 9 }}",
    "giant output": "{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}",
    "class walk": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "changes its input": "{{ messages.append(1) }}",
    "includes a file": "{% include '/etc/passwd' %}",
    "no template": "{% for",
}


@pytest.mark.parametrize("template", BAD_TEMPLATES.values(), ids=BAD_TEMPLATES.keys())
def test_a_template_that_escapes_or_runs_away_is_stopped_in_time(template: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="template"):
        for found in ChatTemplate(template, {})([Conversation([{"role": "user", "content": "x"}])]):
            raise InputError(f"the template is stopped: {found.error}" if found.error else found.text)
    assert time.monotonic() - start < 30  # a second of its own, and starting a process on a busy machine


def test_a_tokenizer_with_a_runaway_template_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, "[UNK]")).save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert load_tokenizer(tmp_path).chat_template
    (tmp_path / "chat_template.jinja").write_text(BAD_TEMPLATES["loops"])
    with pytest.raises(InputError, match="outgrows"):
        load_tokenizer(tmp_path)


def test_importing_models_turns_kernels_and_the_network_off() -> None:
    code = (
        "import os, bloomery.models, huggingface_hub\n"
        "assert os.environ['USE_HUB_KERNELS'] == '0'\n"
        "assert huggingface_hub.is_offline_mode()\n"
    )
    quiet = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    environment = quiet | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
