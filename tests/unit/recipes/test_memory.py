"""Laws of the memory model: parameters as published, bytes that grow with what takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bloomery.recipes.memory import lora_parameters, shape_of, stored_parameters, training_bytes
from bloomery.recipes.sample import USUAL_DOCUMENT, document_tokens, sample_source

LLAMA_1B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip
SMOLLM2_135M = {
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "intermediate_size": 1536, "tie_word_embeddings": True,
}  # fmt: skip
MISTRAL_7B = {
    "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "published"), [(LLAMA_1B, 1_235_814_400), (SMOLLM2_135M, 134_515_008), (MISTRAL_7B, 7_241_732_096)]
)
def test_parameters_are_those_published(config: dict[str, object], published: int) -> None:
    shape = shape_of(config)
    assert shape is not None
    assert shape.parameters == published


def test_a_configuration_that_lacks_a_number_has_no_shape() -> None:
    assert shape_of({"hidden_size": 8}) is None
    assert shape_of({}) is None


def test_full_training_in_fp32_takes_sixteen_bytes_a_parameter_and_adapters_hardly_more_than_the_weights() -> None:
    shape = shape_of(SMOLLM2_135M)
    assert shape is not None
    full = training_bytes(shape, 1024, bf16=False)
    assert full.weights + full.gradients + full.optimiser == 16 * shape.parameters
    adapters = lora_parameters(shape, 8, "all-linear")
    lora = training_bytes(shape, 1024, bf16=False, trainable=adapters)
    assert lora.weights + lora.gradients + lora.optimiser == 4 * shape.parameters + 12 * adapters


def test_recomputing_saves_activations_and_nothing_else() -> None:
    shape = shape_of(SMOLLM2_135M)
    assert shape is not None
    kept, again = (training_bytes(shape, 4096, bf16=True, checkpointing=c) for c in (False, True))
    assert again.activations < kept.activations / 5
    assert (again.weights, again.optimiser, again.head) == (kept.weights, kept.optimiser, kept.head)


def test_bytes_grow_with_tokens_by_their_activations_only() -> None:
    shape = shape_of(LLAMA_1B)
    assert shape is not None
    one, two = (training_bytes(shape, tokens, bf16=True) for tokens in (2048, 4096))
    assert two.activations == 2 * one.activations
    assert two.head == one.head  # logits exist in chunks


def test_stored_parameters_are_counted_from_headers_alone(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": [5]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert stored_parameters(tmp_path) == 17
    assert stored_parameters(tmp_path / "gone") is None


@pytest.mark.usefixtures("here")
def test_the_length_of_documents_is_read_from_the_data() -> None:
    lengths = (10, 500)
    Path("text.jsonl").write_text("".join(json.dumps({"text": "a " * (n // 2)}) + "\n" for n in lengths))
    sample = sample_source({"path": "text.jsonl"}, Path())
    assert sample.typical == pytest.approx(sum(n * n for n in lengths) / sum(lengths), rel=0.01)
    assert document_tokens({"text": sample}).value == round(sample.typical / sample.density)
    assert document_tokens({}).value == USUAL_DOCUMENT
