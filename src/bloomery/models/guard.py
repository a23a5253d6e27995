"""A model folder is hostile until looked at: what it may name, before any library reads it.

Libraries have run code named by a config more than once, although told not to (`auto_map`, nested flags,
attention and kernel repositories, custom generate, quantisers, adapter mappings). So nothing here is a list
of known attacks alone: in config.json a text may stand only under a key that the architecture's own config
class has, and must look like a plain word. Numbers can stand anywhere; a number names no code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where

PICKLES = frozenset(".bin .pt .pth .ckpt .pkl .pickle .npy .npz .joblib .dill .h5 .msgpack .mar .nemo".split())
"""Formats that hold pickles, or that a library may read as one."""
WHOLE = ("model.safetensors", "adapter_model.safetensors")
"""Files that hold all weights of a folder."""
CODE = frozenset(".py .pyc .so .dll .dylib .sh .pth".split())
FORBIDDEN = re.compile(
    r"auto_?map(ping)?|trust_?remote_?code|custom_?(generate|pipelines?|code|attention|kernels?|modules?)"
    r"|kernel(_?(config|repo|mapping|layer\w*))?|hub_?kernels?|use_?kernels?|quantizer\w*|quantization_?config"
    r"|model_?file|vhead_?file|py_?module|parent_?library|base_?model_?class|remote_?code|code_?revision",
    re.IGNORECASE,
)
"""Keys refused in any JSON file of the folder, at any depth, unless empty or false."""
ATTENTIONS = frozenset(("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"))
WORD = re.compile(r"[\w.+\-]{0,80}( [\w.+\-]{1,80}){0,4}")
FREE_TEXT = frozenset(("_name_or_path", "name_or_path", "base_model_name_or_path", "revision"))
"""Texts that only describe where a model came from; loading never follows them."""
COMMON = frozenset(
    "architectures model_type dtype torch_dtype transformers_version id2label label2id layer_types tokenizer_class "
    "attn_implementation _attn_implementation _attn_implementation_internal problem_type rope_type type "
    "finetuning_task task_specific_params hidden_act rope_parameters rope_scaling pruned_heads".split()
)
COUNTS = re.compile(r"(num|n)_.*(layers?|experts|heads)|n_layer|n_head|num_stages")
MAX_COUNT = 16384
"""Of layers, heads or experts: more would only keep the machine busy building them."""
MAX_JSON = 8 * 2**20
MAX_DEPTH = 20
BIG_JSON = frozenset(("tokenizer.json", "vocab.json"))
"""Vocabulary files: read by a parser in Rust that knows no code, and too large to walk."""


def harden_environment() -> None:
    """No kernels from the Hub, no telemetry, no network for models unless the caller has said otherwise."""
    os.environ["USE_HUB_KERNELS"] = "0"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not os.environ.get("HF_HUB_OFFLINE"):
        from huggingface_hub import constants

        # The client's own switch, not the variable: that is the user's word, and data a recipe names is still fetched.
        constants.HF_HUB_OFFLINE = True


def check_folder(folder: Path) -> None:
    """Raise `InputError`, naming file and key, unless the folder is a model that names no code.

    For a folder of adapters (adapter_config.json) there need be no config.json.
    """
    check_files(folder)
    if not ((folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()):
        raise InputError("is not a model folder: it has no config.json", where=Where(folder))


def check_files(folder: Path) -> None:
    """Raise `InputError` if a file of the folder is code, a pickle, or JSON that asks for code."""
    if not folder.is_dir():
        raise InputError("is not a folder", where=Where(folder), fix="name the folder that holds config.json")
    spare = unopened(folder)
    for path in sorted(folder.iterdir()):
        if path not in spare:
            _check_name(path)
        if path.suffix == ".json" and path.name not in BIG_JSON:
            _check_json(path)


def unopened(folder: Path) -> list[Path]:
    """Pickles beside weights that are complete in safetensors, as many Hub repositories have both.

    They are no reason to refuse the folder: every load of ours asks for safetensors, so nothing opens them.
    """
    if not (any((folder / name).is_file() for name in WHOLE) or _all_shards(folder / "model.safetensors.index.json")):
        return []
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICKLES - CODE]


def _all_shards(index: Path) -> bool:
    if not index.is_file():
        return False
    shards = _shards(index, _read(index))
    return bool(shards) and all((index.parent / shard).is_file() for shard in shards)


def _check_name(path: Path) -> None:
    if path.suffix.lower() in PICKLES | CODE:
        kind = "code" if path.suffix.lower() in CODE else "a pickle or may be read as one, and can run code when opened"
        raise InputError(f"is {kind}", where=Where(path), fix="delete it; weights must be safetensors")


def _check_json(path: Path) -> None:
    value = _read(path)
    for key, at, inner in _walk(value, ""):
        if FORBIDDEN.fullmatch(key) and inner not in (None, False, "", [], {}):
            raise _refused(path, at, "asks for code or a format from elsewhere")
        if key.endswith("attn_implementation") and inner is not None and inner not in ATTENTIONS:
            raise _refused(path, at, f"names the attention `{str(inner)[:80]}`, which is none of torch's own")
        if COUNTS.fullmatch(key) and isinstance(inner, int | float) and not 0 <= inner <= MAX_COUNT:
            raise InputError(f"`{at}` is {inner}, outside 0 to {MAX_COUNT:,}", where=Where(path))
    if path.name == "config.json":
        _check_texts(path, value)
    if path.name.endswith(".safetensors.index.json"):
        _shards(path, value)


def _read(path: Path) -> Any:
    if path.stat().st_size > MAX_JSON:
        raise InputError(f"is larger than {MAX_JSON >> 20} MB, which no config is", where=Where(path))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"is not readable as JSON: {str(error)[:200]}", where=Where(path)) from None
    if not isinstance(value, dict | list):
        raise InputError("is not a JSON object", where=Where(path))
    return value


def _walk(value: Any, at: str, depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """(key, dotted path, value) of everything inside; raises `InputError` when nested too deep."""
    if depth > MAX_DEPTH:
        raise InputError(f"`{at[:80]}...` is nested deeper than {MAX_DEPTH} levels")
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        name = str(key) if isinstance(value, dict) else ""
        here = f"{at}.{key}" if at else str(key)
        yield name, here, inner
        yield from _walk(inner, here, depth + 1)


def _check_texts(path: Path, config: Any) -> None:
    if not isinstance(config, dict):
        raise InputError("is not a JSON object", where=Where(path))
    if not isinstance(config.get("model_type"), str):
        raise InputError("has no `model_type`", where=Where(path), fix="use a folder saved by transformers")
    _check_section(path, config, "", _known_keys(config["model_type"], path))


def _check_section(path: Path, section: dict[str, Any], at: str, known: frozenset[str]) -> None:
    """Texts only under known keys, and plain words only; sections with a `model_type` follow their own class."""
    for key, value in section.items():
        here = f"{at}.{key}" if at else key
        texts = list(_texts(value))
        if not texts or key in FREE_TEXT:
            continue
        if key not in known:
            raise _refused(path, here, "is no setting of this architecture, and holds text")
        if isinstance(value, dict) and isinstance(value.get("model_type"), str):
            _check_section(path, value, here, _known_keys(value["model_type"], path))
        elif bad := [t for t in texts if not WORD.fullmatch(t)]:
            raise _refused(path, here, f"is `{bad[0][:80]}`, where a plain word is expected")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


@lru_cache(maxsize=32)
def _known_keys(model_type: str, path: Path) -> frozenset[str]:
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise InputError(
            f"`model_type: {model_type[:80]}` is no architecture of the installed transformers", where=Where(path)
        )
    try:
        config = CONFIG_MAPPING[model_type]()
    except Exception as error:  # whatever a config class of theirs raises without arguments
        raise InputError(f"`model_type: {model_type}` has no defaults: {str(error)[:200]}", where=Where(path)) from None
    return frozenset(vars(config)) | frozenset(config.attribute_map) | COMMON


def _shards(path: Path, index: Any) -> set[str]:
    """The files an index names; raises `InputError` unless they are safetensors of the same folder, by plain names."""
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict):
        raise InputError("has no `weight_map`", where=Where(path))
    shards = set(map(str, named.values()))
    for shard in shards:
        if not re.fullmatch(r"[\w.\-]+\.safetensors", shard):
            raise InputError(
                f"names the shard `{shard[:80]}`, which is no safetensors file of this folder", where=Where(path)
            )
    return shards


def _refused(path: Path, key: str, why: str) -> InputError:
    return InputError(f"`{key}` {why}", where=Where(path), fix=f"remove `{key}`, if the model works without it")
