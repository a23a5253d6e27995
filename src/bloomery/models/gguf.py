"""A model folder as one GGUF file for llama.cpp and what is built on it, read back and compared before it appears."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import read_json, verify_ours
from bloomery.models import guard
from bloomery.models.gguf_check import Compared, compare, figures
from bloomery.models.gguf_layout import Array, Layout, Numbers, layout_of, numbers, places, rope_factors, to_file
from bloomery.models.gguf_words import Words, words_of
from bloomery.models.load import config_of, load_tokenizer, load_weights
from bloomery.models.slices import opened, tensor_files

KINDS = {"f16": "F16", "q8_0": "Q8_0"}
"""What matrices are kept in, by the name a user gives and gguf's; vectors stay in fp32, as llama.cpp wants them."""

BLOCK = 32
"""Numbers of a row that share one scale in q8_0; a row that is no multiple of it is kept in f16."""


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of its model beside what the weights need: names only, no path and no row."""

    name: str
    licence: str = ""
    parents: Sequence[str] = ()


def require_gguf() -> None:
    """Raise `InputError` where the `gguf` package is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise InputError("GGUF files are written with the `gguf` package", fix="pip install 'bloomery[gguf]'")


def check_kind(kind: str) -> None:
    """Raise `InputError` for a kind that is not written."""
    if kind not in KINDS:
        raise InputError(
            f"`--gguf {kind}` is not written", fix=f"use {' or '.join(KINDS)}; llama-quantize makes others"
        )


def export_gguf(folder: Path, target: Path, kind: str, about: About, texts: Sequence[str] = ()) -> Compared:
    """Write the model in `folder` to the file `target`, and say how far it is from the model.

    The file is read back, by transformers where it knows the architecture, and its logits and perplexity are compared
    with the model's on `texts` beside our own. Raises `InputError` for an architecture or tokenizer that llama.cpp
    does not have, and `DamagedError`, with the file removed, where it is further from the model than its kind may be.
    """
    check_kind(kind)
    require_gguf()
    guard.check_folder(folder)
    verify_ours(folder)
    settings = read_json(folder / "config.json")
    config = config_of(settings)
    layout = layout_of(config)
    found = numbers(config, layout)
    tokenizer = load_tokenizer(folder)
    words = words_of(tokenizer, int(config.vocab_size), texts)
    original = figures(load_weights(folder, torch.float32), tokenizer, texts)
    try:
        _write(folder, target, config, layout, found, words, kind, about)
        return compare(target, folder, config, layout, words, original, tokenizer, kind, texts)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _write(
    folder: Path, target: Path, config: Any, layout: Layout, found: Numbers, words: Words, kind: str, about: About
) -> None:
    import gguf

    writer = gguf.GGUFWriter(target, layout.name, use_temp_file=True)
    _describe(writer, kind, about)
    for key, value in found.items():
        _add(writer, f"{layout.name}.{key}", value)
    _add_words(writer, words, _ends(folder, words))
    names = places(config, layout)
    for name, tensor in _tensors(folder, config, layout):
        place = names(name)
        if place is None:
            raise InputError(f"llama.cpp's {layout.name} has no place for the tensor `{name}`")
        _add_tensor(writer, place, to_file(name, tensor, config, layout), kind)
    if (factors := rope_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(folder: Path, config: Any, layout: Layout) -> Iterator[tuple[str, Array]]:
    """Every tensor of the folder in fp32, one at a time; a tied output once more where llama.cpp wants it."""
    files = tensor_files(folder)
    embedding = "gpt_neox.embed_in.weight" if layout.name == "gptneox" else "model.embed_tokens.weight"
    output = "embed_out.weight" if layout.name == "gptneox" else "lm_head.weight"
    for name in sorted(files):
        if name.endswith(("rotary_emb.inv_freq", "attention.bias", "attention.masked_bias")):
            continue  # made again from the config; older folders hold them
        if name == output and config.tie_word_embeddings:
            continue
        with opened(files[name]) as file:
            tensor: Array = file.get_tensor(name).float().numpy()
        if not np.isfinite(tensor).all():
            raise DamagedError(f"`{name}` holds numbers that are not finite", where=Where(folder))
        yield name, tensor
        if name == embedding and config.tie_word_embeddings and not layout.tied:
            yield output, tensor


def _add_tensor(writer: Any, place: str, tensor: Array, kind: str) -> None:
    from gguf import GGMLQuantizationType, quants

    if tensor.ndim < 2:
        writer.add_tensor(place, tensor)
        return
    fits = kind != "q8_0" or tensor.shape[-1] % BLOCK == 0
    stored = GGMLQuantizationType[KINDS[kind] if fits else "F16"]
    if float(np.abs(tensor).max()) > float(np.finfo(np.float16).max):
        raise InputError(f"`{place}` holds numbers beyond what f16 can", fix="serve the folder with vLLM, in bfloat16")
    writer.add_tensor(place, quants.quantize(tensor, stored), raw_dtype=stored)


def _describe(writer: Any, kind: str, about: About) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    writer.add_type("model")
    writer.add_name(about.name)
    writer.add_tags(["bloomery"])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{KINDS[kind]}"])
    if about.licence:
        writer.add_license(about.licence)
    writer.add_base_model_count(len(about.parents))
    for number, parent in enumerate(about.parents):
        writer.add_base_model_name(number, parent)


def _add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def _add_words(writer: Any, words: Words, ends: Mapping[str, int]) -> None:
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name for every byte-level BPE
    writer.add_tokenizer_pre(words.split.name)
    writer.add_token_list(list(words.tokens))
    writer.add_token_types(list(words.kinds))
    writer.add_token_merges(list(words.merges))
    for name, number in ends.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    writer.add_add_bos_token(words.starts)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if words.template:
        writer.add_chat_template(words.template)


def _ends(folder: Path, words: Words) -> dict[str, int]:
    """Special ids, with the further token that ends an answer where the generation config names two."""
    path = folder / "generation_config.json"
    found = read_json(path).get("eos_token_id") if path.is_file() else None
    ends = [int(e) for e in (found if isinstance(found, list) else [found] if found is not None else [])]
    special = dict(words.special)
    if ends and special.get("eos") not in ends:
        special["eos"] = ends[0]
    others = [e for e in ends if e != special.get("eos")]
    return special | ({"eot": others[0]} if others else {})
