"""GGUF files hold the model and its words, or do not appear; what llama.cpp would read otherwise is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bloomery.core.errors import DamagedError, InputError
from bloomery.models import gguf, gguf_check
from bloomery.models.gguf import About, export_gguf
from bloomery.models.gguf_layout import LAYOUTS, Layout, from_file, head_width, rope_factors, to_file
from bloomery.models.gguf_words import PROBES, SPLITS, build, words_of
from bloomery.models.load import config_of, load_tokenizer, new_model

pytest.importorskip("gguf")
EMBER = Path(__file__).parents[3] / "families/ember"
ABOUT = About("tiny", "Apache-2.0", ("family/stage", "older"))
TINY: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.1, "tie_word_embeddings": False,
    "eos_token_id": 0, "bos_token_id": None, "pad_token_id": 3, "hidden_act": "silu",
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 64,
        "beta_fast": 32, "beta_slow": 1, "attention_factor": 1.2079441541679836}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, tied and scaled": {"rope_parameters": LLAMA3, "tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
    "smollm3": {},
    "olmo2": {"tie_word_embeddings": True},
    "olmo3": {"sliding_window": 32, "rope_parameters": {"full_attention": YARN}},
    "gpt_neox": {"hidden_act": "gelu", "rotary_pct": 0.25},
}


def saved(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    settings = {**TINY, "model_type": kind.partition(",")[0], **KINDS.get(kind, {}), **changes}
    loaded = new_model(settings, 0, check=False)
    torch.manual_seed(1)
    for parameter in loaded.model.parameters():
        if parameter.ndim == 1:  # norms and biases begin as ones and zeros, which hide a mistake
            parameter.data += 0.2 * torch.randn_like(parameter)
    loaded.model.save_pretrained(folder)
    save_words(folder)
    return folder


def save_words(folder: Path) -> None:
    """Ember's tokenizer with its first 504 tokens: the rest takes a second to read."""
    load_tokenizer(EMBER / "tokenizer").save_pretrained(folder)
    described = json.loads((folder / "tokenizer.json").read_text())
    model = described["model"]
    model["vocab"] = {token: i for token, i in model["vocab"].items() if i < 504}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    (folder / "tokenizer.json").write_text(json.dumps(described))


def values(path: Path) -> Any:
    """What a file says of a key, read once."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return lambda key: reader.get_field(key).contents()


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_comes_back_with_the_same_answers(tmp_path: Path, kind: str) -> None:
    folder = saved(tmp_path / "m", kind)
    compared = export_gguf(folder, tmp_path / "m.gguf", "f16", ABOUT)
    assert compared.logprob_mean < 0.005
    assert compared.same_best > 0.98
    assert compared.tokens > 300
    assert set(LAYOUTS) == {name.partition(",")[0] for name in KINDS}


def test_q8_halves_the_file_and_says_how_far_it_is(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    half = export_gguf(folder, tmp_path / "half.gguf", "f16", ABOUT)
    eighth = export_gguf(folder, tmp_path / "eighth.gguf", "q8_0", ABOUT)
    assert 0.5 < eighth.bytes / half.bytes < 0.6
    assert half.logprob_mean < eighth.logprob_mean < gguf_check.LOGPROB["q8_0"]
    assert f"{eighth.perplexity_change:+.4%}" in str(eighth)


def test_a_file_names_its_model_licence_parents_ends_and_template(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    path = tmp_path / "m.gguf"
    export_gguf(folder, path, "f16", ABOUT)
    value = values(path)
    told = {key: value(key) for key in ("general.name", "general.license", "general.architecture")}
    assert told == {"general.name": "tiny", "general.license": "Apache-2.0", "general.architecture": "llama"}
    assert [value(f"general.base_model.{i}.name") for i in range(2)] == ["family/stage", "older"]
    assert (value("tokenizer.ggml.eos_token_id"), value("tokenizer.ggml.eot_token_id")) == (0, 2)
    assert value("tokenizer.ggml.add_bos_token") is False
    assert value("tokenizer.chat_template") == load_tokenizer(folder).chat_template
    assert str(tmp_path) not in path.read_bytes().decode("latin-1")


def test_ids_without_a_token_are_marked_unused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    export_gguf(saved(tmp_path / "m"), path, "f16", ABOUT)
    value = values(path)
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    assert (len(tokens), tokens[504:], kinds[504:]) == (512, [f"[PAD{i}]" for i in range(504, 512)], [5] * 8)
    assert kinds[:5] == [3, 3, 3, 3, 1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("rotation", "reads back otherwise"),
        ("words", "otherwise than the tokenizer"),
        ("logits", "answers otherwise than the model"),
    ],
)
def test_a_file_that_reads_back_otherwise_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, said: str
) -> None:
    folder = saved(tmp_path / "m")
    if damage == "rotation":
        monkeypatch.setitem(LAYOUTS, "llama", Layout("llama", interleaved=False))  # type: ignore[arg-type]
    elif damage == "words":
        kept = gguf._add_words

        def swapped(writer: Any, words: Any, ends: Any) -> None:
            writer_tokens = list(words.tokens)
            writer_tokens[300], writer_tokens[301] = writer_tokens[301], writer_tokens[300]
            kept(writer, replace(words, tokens=tuple(writer_tokens)), ends)

        monkeypatch.setattr(gguf, "_add_words", swapped)
    else:
        monkeypatch.setattr(gguf_check, "_same_weights", lambda *_: None)
        monkeypatch.setitem(LAYOUTS, "llama", Layout("llama", interleaved=False))  # type: ignore[arg-type]
    with pytest.raises(DamagedError, match=said):
        export_gguf(folder, tmp_path / "m.gguf", "f16", ABOUT)
    assert not (tmp_path / "m.gguf").exists()


def test_the_layouts_change_nothing_there_and_back() -> None:
    for name, changes in KINDS.items():
        config = config_of({**TINY, "model_type": name.partition(",")[0], **changes})
        layout = LAYOUTS[config.model_type]
        for tensor in ("layers.0.self_attn.q_proj.weight", "layers.0.attention.query_key_value.weight"):
            rows = (12 if "query" in tensor else 4) * head_width(config)
            array = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
            assert np.array_equal(from_file(tensor, to_file(tensor, array, config, layout), config, layout), array)


def test_llama_3s_scaling_is_transformers_own() -> None:
    config = config_of({**TINY, "model_type": "llama", "rope_parameters": LLAMA3})
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1e4 ** -(torch.arange(0, 16, 2) / 16)
    found = rope_factors(config)
    assert found is not None
    torch.testing.assert_close(plain / torch.from_numpy(found), scaled)
    assert len(set(found.tolist())) > 2


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("gemma3_text", {"head_dim": 16}, "`gemma3_text` models are not exported as GGUF; these are: gpt_neox, llama"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "`rope_type: linear`",
        ),
        ("qwen2", {"hidden_act": "relu"}, "no qwen2 with `hidden_act: relu`"),
        ("olmo3", {"sliding_window": 8, "layer_types": ["full_attention"] * 4}, "every fourth layer of olmo3"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1]}, "every fourth layer of smollm3"),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "no sliding window"),
    ],
)
def test_what_llama_cpp_lacks_is_refused_by_name(tmp_path: Path, kind: str, changes: dict[str, Any], said: str) -> None:
    folder = saved(tmp_path / "m")
    settings = {**json.loads((folder / "config.json").read_text()), "model_type": kind, **changes}
    if kind == "gemma3_text":
        settings.pop("rope_parameters")
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=said):
        export_gguf(folder, tmp_path / "m.gguf", "f16", ABOUT)
    assert not (tmp_path / "m.gguf").exists()


def test_numbers_beyond_f16_and_unknown_kinds_are_refused(tmp_path: Path) -> None:
    loaded = new_model({**TINY, "model_type": "llama"}, 0, check=False)
    loaded.model.lm_head.weight.data[7, 7] = 1e5
    loaded.model.save_pretrained(tmp_path / "m")
    save_words(tmp_path / "m")
    with pytest.raises(InputError, match=r"`output.weight` holds numbers beyond what f16 can"):
        export_gguf(tmp_path / "m", tmp_path / "m.gguf", "f16", ABOUT)
    with pytest.raises(InputError, match="use f16 or q8_0"):
        export_gguf(tmp_path / "m", tmp_path / "m.gguf", "q4_k", ABOUT)
    assert not (tmp_path / "m.gguf").exists()


def test_a_missing_package_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'bloomery\[gguf\]'"):
        export_gguf(tmp_path / "m", tmp_path / "m.gguf", "f16", ABOUT)


def words_with(split: Any, ignore_merges: bool = False, **changes: Any) -> PreTrainedTokenizerFast:
    """Ember's tokens with merges over digits too, split in another way."""
    described = json.loads((EMBER / "tokenizer/tokenizer.json").read_text())["model"]
    vocab = dict(described["vocab"])
    merges = [tuple(m) for m in described["merges"]]
    pairs = [
        ("1", "2"),
        ("12", "3"),
        ("4", "2"),
        ("Ġ", "1"),
        ("Ġ", "12"),
        (".", "Ċ"),
        ("Ċ", "Ċ"),
        ("(", "x"),
        ("ĠO", "N"),
    ]
    for pair in pairs:
        vocab.setdefault("".join(pair), len(vocab))
        merges.append(pair)
    vocab["furnace"] = len(vocab)  # made by no merge
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([*split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    for name, part in changes.items():
        setattr(made, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")


def regex(expression: str) -> list[Any]:
    return [pre_tokenizers.Split(Regex(expression), "isolated")]


CASELESS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize(
    ("split", "ignore", "name"),
    [
        (regex(CASELESS + r"\p{N}{1,3}" + REST), True, "llama-bpe"),
        (regex(CASELESS + r"\p{N}{1,3}" + REST), False, "dbrx"),
        (regex(CASELESS + r"\p{N}" + REST), False, "qwen2"),
        ([pre_tokenizers.ByteLevel(False, use_regex=True)], False, "gpt-2"),
        ([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)], False, "smollm"),
    ],
)
def test_the_way_of_splitting_is_found_by_trying(split: Any, ignore: bool, name: str) -> None:
    tokenizer = words_with(split, ignore) if len(split) == 1 and name != "gpt-2" else words_with([], ignore)
    if name in ("gpt-2", "smollm"):
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    assert words_of(tokenizer, 4200).split.name == name


def test_a_split_that_llama_cpp_lacks_is_refused_with_where_it_parts() -> None:
    with pytest.raises(
        InputError, match=r"no way to split text as this tokenizer does; the nearest, `[a-z0-9-]+`, parts at ['\"]"
    ):
        words_of(words_with(regex(r"\p{N}{1,2}|\p{L}+|[^\p{L}\p{N}]")), 4200)


def test_ember_splits_as_gpt_2_on_all_its_held_out_text() -> None:
    tokenizer = load_tokenizer(EMBER / "tokenizer")
    lines = (EMBER / "heldout/documentation.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert words_of(tokenizer, 4096, texts).split.name == "gpt-2"
    assert len(texts) > 300


def test_tokenizers_that_put_a_start_before_a_text_say_so_and_others_are_refused() -> None:
    starts = words_with(regex(CASELESS + r"\p{N}" + REST))
    starts.bos_token = "<|im_start|>"
    starts.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    assert words_of(starts, 4200).starts
    starts.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", 2)]
    )
    with pytest.raises(InputError, match="more around a text than a start token"):
        words_of(starts, 4200)


def test_composed_text_alone_is_promised_where_the_tokenizer_composes() -> None:
    split = regex(CASELESS + r"\p{N}" + REST)
    assert words_of(words_with(split, normalizer=normalizers.NFC()), 4200).normalised
    with pytest.raises(InputError, match="no byte-level BPE"):
        words_of(words_with(split, normalizer=normalizers.Lowercase()), 4200)


def test_other_tokenizers_are_refused_by_kind() -> None:
    unigram = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)], unk_id=0, byte_fallback=False))
    with pytest.raises(InputError, match="this Unigram tokenizer is no byte-level BPE"):
        words_of(PreTrainedTokenizerFast(tokenizer_object=unigram), 10)


def test_the_probes_tell_every_two_splits_apart() -> None:
    made = words_with(regex(CASELESS + r"\p{N}" + REST)).backend_tokenizer
    model = json.loads(made.to_str())["model"]
    merges = [" ".join(m) for m in model["merges"]]
    told = {
        split.name: [build(model["vocab"], merges, [], split).encode(text).ids for text in PROBES] for split in SPLITS
    }
    same = [{a, b} for a in told for b in told if a < b and told[a] == told[b]]
    assert same in ([], [{"dbrx", "llama-bpe"}])
