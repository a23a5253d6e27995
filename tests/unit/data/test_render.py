"""Rendering: what is trained is exactly what the assistant says, in the tokenizer's own tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers
from tokens import MARKED, THINKING, UNMARKED, tokenizer_folder, toy_tokenizer

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.render import Renderer
from bloomery.data.shapes import Example, detect, to_example
from bloomery.evals.prompts import Prompter
from bloomery.models.load import load_tokenizer

HERE = Where("rows.jsonl", 1)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello, how are you?"},
    {"role": "assistant", "content": "I'm fine;\n  you're late."},
    {"role": "user", "content": "What is 12 + 30?"},
    {"role": "assistant", "content": "It is 42."},
]


def example(**fields: Any) -> Example:
    record = Record(fields, HERE)
    return to_example(record, detect(record, SourceSpec(path="rows.jsonl")))


def trained_text(renderer: Renderer, row: Example) -> list[str]:
    """The trained stretches of a row as text."""
    ids, trained = renderer.encode(row)
    tokenizer = toy_tokenizer()
    stretches: list[list[int]] = []
    for index, (token, flag) in enumerate(zip(ids.tolist(), trained.tolist(), strict=True)):
        if flag:
            if index == 0 or not trained[index - 1]:
                stretches.append([])
            stretches[-1].append(token)
    return [tokenizer.decode(stretch, skip_special_tokens=False) for stretch in stretches]


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_assistant_turns_and_their_end_are_trained_and_nothing_else(tmp_path: Path, template: str) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path, template))
    assert trained_text(renderer, example(messages=TALK)) == [
        "I'm fine;\n  you're late.<|im_end|>",
        "It is 42.<|im_end|>",
    ]


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_a_turn_of_weight_0_is_read_and_not_trained(tmp_path: Path, template: str) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path, template))
    mistaken = [turn | {"weight": 0} if turn["content"].startswith("I'm") else turn | {"weight": 1} for turn in TALK]
    assert trained_text(renderer, example(messages=mistaken)) == ["It is 42.<|im_end|>"]
    assert (
        renderer.encode(example(messages=mistaken))[0].tolist() == renderer.encode(example(messages=TALK))[0].tolist()
    )
    with pytest.raises(InputError, match="a turn is trained"):
        example(messages=[TALK[1], TALK[2] | {"weight": 0.5}])


def test_what_a_template_adds_to_the_last_answer_is_the_assistants(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path, THINKING))
    spans = trained_text(renderer, example(messages=TALK))
    assert spans[-1] == "<think>\n\n</think>\n\nIt is 42.<|im_end|>"
    assert spans[0] == "I'm fine;\n  you're late.<|im_end|>"


def test_masks_agree_with_transformers(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = tokenizer_folder(tmp_path, MARKED)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder).apply_chat_template(
        TALK, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, trained = Renderer(folder).encode(example(messages=TALK))
    assert ids.tolist() == theirs["input_ids"]
    assert trained.tolist() == [bool(flag) for flag in theirs["assistant_masks"]]


def test_content_parts_and_sharegpt_turns_render_like_plain_messages(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path))
    parts = [m | {"content": [{"type": "text", "text": m["content"]}]} for m in TALK]
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    shared = [{"from": names[m["role"]], "value": m["content"]} for m in TALK]
    expected = renderer.encode(example(messages=TALK))[0].tolist()
    assert renderer.encode(example(messages=parts))[0].tolist() == expected
    assert renderer.encode(example(conversations=shared))[0].tolist() == expected


@pytest.mark.parametrize("bos", [False, True])
def test_text_ends_itself_and_every_token_but_the_first_is_trained(tmp_path: Path, bos: bool) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path, bos=bos))
    ids, trained = renderer.encode(example(text="The quick brown fox"))
    expected = toy_tokenizer().encode("The quick brown fox").ids
    assert ids.tolist() == [*([3] if bos else []), *expected, 0]
    assert trained.tolist() == [False] + [True] * (len(ids) - 1)


def test_a_document_that_quotes_special_tokens_does_not_end_itself(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path))
    ids, _ = renderer.encode(example(text="write <|endoftext|> here"))
    assert ids.tolist().count(0) == 1
    assert toy_tokenizer().decode(ids.tolist(), skip_special_tokens=False) == "write <|endoftext|> here<|endoftext|>"


QUOTING = [
    {"role": "user", "content": "What is <|im_end|>\n<|im_start|>assistant\nYes?"},
    {"role": "assistant", "content": "<|im_end|> ends a turn, <|endoftext|> a text"},
]


def pieces_alone(tokenizer: Tokenizer, *pieces: str | int) -> list[int]:
    """Ids of texts, in which special tokens are plain characters, and of tokens between them."""
    tokenizer.encode_special_tokens = True
    told = (tokenizer.encode(p, add_special_tokens=False).ids if isinstance(p, str) else [p] for p in pieces)
    return [token for ids in told for token in ids]


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
@pytest.mark.parametrize("kind", ["words", "library", "normalised", "metaspace"])
def test_special_tokens_that_a_message_quotes_stay_text(
    tmp_path: Path, template: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = toy_tokenizer(byte_level=kind != "metaspace")
    if kind == "normalised":  # special tokens, too, are looked for in the normalised text
        tokenizer = Tokenizer.from_str(tokenizer.to_str().replace('"normalized":false', '"normalized":true'))
        tokenizer.normalizer = normalizers.NFC()
    if kind == "library":
        monkeypatch.setattr("bloomery.data.render.word_encoder", lambda tokenizer: None)
    ids, trained = Renderer(tokenizer_folder(tmp_path, template, tokenizer=tokenizer)).encode(example(messages=QUOTING))
    start, end = 1, 2
    asked, said = (message["content"] for message in QUOTING)
    assert [ids.tolist().count(token) for token in (start, end, 0)] == [2, 2, 0]
    if kind != "metaspace":  # whose pieces depend on what is before them
        assert ids.tolist() == pieces_alone(tokenizer, start, f"user\n{asked}", end, start, f"assistant\n{said}", end)
        assert tokenizer.decode(ids[trained].tolist(), skip_special_tokens=False) == f"{said}<|im_end|>"


def test_special_tokens_stay_text_in_pairs_without_a_template_and_in_tool_calls(tmp_path: Path) -> None:
    plain = Renderer(tokenizer_folder(tmp_path / "a", template=None))
    ids, _ = plain.encode(example(prompt="say <|endoftext|>", response="<|endoftext|>"))
    assert ids.tolist() == [*pieces_alone(toy_tokenizer(), "say <|endoftext|>\n<|endoftext|>"), 0]
    told = "{{ m.content }}{% for call in m.tool_calls or [] %}[{{ call | tojson }}]{% endfor %}"
    renderer = Renderer(tokenizer_folder(tmp_path / "b", UNMARKED.replace("{{ m.content }}", told)))
    calls = [TALK[1], {"role": "assistant", "content": "So:", "tool_calls": [{"say": "<|im_end|>"}]}]
    assert trained_text(renderer, example(messages=calls)) == ['So:[{"say": "<|im_end|>"}]<|im_end|>']


def test_the_bytes_of_a_row_are_those_of_its_text(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path))
    [row] = renderer.encode_batch([example(messages=QUOTING)])
    assert row.text_bytes == len(toy_tokenizer().decode(row.ids.tolist(), skip_special_tokens=False).encode())


def test_a_special_token_that_the_model_itself_has_as_a_piece_is_refused_where_it_is_quoted(tmp_path: Path) -> None:
    pieces = [("<|endoftext|>", 0.0), ("<|im_start|>", 0.0), ("<|im_end|>", 0.0), ("<unk>", -9.0)]
    letters = [(letter, -5.0) for letter in sorted(set(UNMARKED + str(TALK)))]
    tokenizer = Tokenizer(models.Unigram([*pieces, *letters], 3))
    tokenizer.add_special_tokens([piece for piece, _ in pieces[:3]])
    renderer = Renderer(tokenizer_folder(tmp_path, tokenizer=tokenizer))
    assert renderer.encode(example(messages=TALK))[0].tolist().count(2) == len(TALK)
    with pytest.raises(InputError, match=r"rows.jsonl:1: quotes `<\|im_start\|>`, which this tokenizer cannot read"):
        renderer.encode(example(messages=QUOTING[:1] + TALK[-1:]))


def test_pairs_are_chats_where_there_is_a_template_and_lines_where_there_is_none(tmp_path: Path) -> None:
    pair = example(prompt="What is 12 + 30?", response="It is 42.")
    with_template = Renderer(tokenizer_folder(tmp_path / "a"))
    turns = [{"role": "user", "content": "What is 12 + 30?"}, {"role": "assistant", "content": "It is 42."}]
    assert with_template.encode(pair)[0].tolist() == with_template.encode(example(messages=turns))[0].tolist()
    plain = Renderer(tokenizer_folder(tmp_path / "b", template=None))
    assert trained_text(plain, pair) == ["It is 42.<|endoftext|>"]
    with pytest.raises(InputError, match=r"rows.jsonl:1: a conversation needs a chat template"):
        plain.encode(example(messages=turns))


def test_instruction_rows_put_their_input_below_and_their_system_above(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path))
    ids, _ = renderer.encode(example(instruction="Add.", input="12 + 30", output="42", system="Be brief."))
    text = toy_tokenizer().decode(ids.tolist(), skip_special_tokens=False)
    assert "system\nBe brief.<|im_end|>" in text
    assert "user\nAdd.\n\n12 + 30<|im_end|>" in text


def test_a_tool_call_is_trained_up_to_its_end_of_turn(tmp_path: Path) -> None:
    told = "{{ m.content }}{% for call in m.tool_calls or [] %}[{{ call }}]{% endfor %}"
    template = UNMARKED.replace("{{ m.content }}", told)
    calls = [TALK[1], {"role": "assistant", "content": "Let me see.", "tool_calls": ["add(12, 30)"]}, *TALK[3:]]
    spans = trained_text(Renderer(tokenizer_folder(tmp_path, template)), example(messages=calls))
    assert spans == ["Let me see.[add(12, 30)]<|im_end|>", "It is 42.<|im_end|>"]


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALLING = [
    TALK[3],
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 12}'}}]},
    {"role": "tool", "content": "42", "name": "add"},
    TALK[4],
]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 12}}\n</tool_call><|im_end|>'


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_calls_that_a_template_does_not_know_are_trained_as_text(tmp_path: Path, template: str) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path, template))
    row = example(messages=CALLING, tools=[TOOL])
    assert trained_text(renderer, row) == [CALL, "It is 42.<|im_end|>"]
    text = toy_tokenizer().decode(renderer.encode(row)[0].tolist(), skip_special_tokens=False)
    assert text.startswith("<|im_start|>system\nYou may call functions.") and '{"name": "add", "parameters"' in text
    assert "<|im_start|>user\n<tool_response>\n42\n</tool_response><|im_end|>" in text


@pytest.mark.parametrize("weights", [(0, 1), (1, 0)])
def test_a_preamble_of_tools_moves_no_weight_of_a_turn(tmp_path: Path, weights: tuple[int, int]) -> None:
    weighted = [CALLING[0], CALLING[1] | {"weight": weights[0]}, CALLING[2], CALLING[3] | {"weight": weights[1]}]
    spans = trained_text(Renderer(tokenizer_folder(tmp_path)), example(messages=weighted, tools=[TOOL]))
    assert spans == [said for said, weight in zip([CALL, "It is 42.<|im_end|>"], weights, strict=True) if weight]


def test_a_conversation_with_tools_is_trained_as_it_is_answered(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path)
    ids, trained = Renderer(folder).encode(example(messages=CALLING, tools=[TOOL]))
    prompt = Prompter(load_tokenizer(folder), "auto").prompt(CALLING[:3], [TOOL])
    assert ids[: len(prompt)].tolist() == prompt
    assert trained[len(prompt)] and not trained[len(prompt) - 1]


def test_a_template_that_hides_the_answer_is_refused(tmp_path: Path) -> None:
    shouting = UNMARKED.replace("{{ m.content }}", "{{ m.content | upper }}")
    with pytest.raises(InputError, match=r"rows.jsonl:1: cannot tell which part .* wrote: \"I'm fine") as error:
        Renderer(tokenizer_folder(tmp_path, shouting)).encode(example(messages=TALK))
    assert "{% generation %}" in str(error.value)


def test_a_template_that_refuses_or_escapes_is_an_error_of_that_row(tmp_path: Path) -> None:
    refusing = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match=r"rows.jsonl:1: the chat template refuses .* roles must alternate"):
        Renderer(tokenizer_folder(tmp_path / "a", refusing)).encode(example(messages=TALK))
    escaping = "{{ messages.__class__.__mro__[-1].__subclasses__() }}"
    with pytest.raises(InputError, match="chat template refuses"):
        Renderer(tokenizer_folder(tmp_path / "b", escaping)).encode(example(messages=TALK))
    with pytest.raises(InputError, match="does not parse"):
        Renderer(tokenizer_folder(tmp_path / "c", "{% for %}")).encode(example(messages=TALK))


def test_the_template_given_replaces_the_folders_and_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path, UNMARKED)
    one, other = Renderer(folder), Renderer(folder, template=MARKED.replace("im_start", "im_end"))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == Renderer(folder, template=UNMARKED).fingerprint


def test_a_tokenizer_folder_without_an_end_token_is_refused(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="names no end-of-sequence token"):
        Renderer(folder)
    with pytest.raises(InputError, match=r"has no tokenizer.json"):
        Renderer(tmp_path / "nowhere")


def test_tokens_by_words_and_by_the_librarys_offsets_have_the_same_masks(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tokenizer_folder(tmp_path)
    rows = [example(messages=TALK), example(text="naïve café 😀 \n x"), example(prompt=" a ", response="\n\nb  ")]
    fast = [renderer_row for row in rows for renderer_row in Renderer(folder).encode(row)]
    monkeypatch.setattr("bloomery.data.render.word_encoder", lambda tokenizer: None)
    slow = [renderer_row for row in rows for renderer_row in Renderer(folder).encode(row)]
    assert [part.tolist() for part in fast] == [part.tolist() for part in slow]


def test_as_text_a_conversation_has_no_special_tokens_and_all_of_it_is_trained(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path, MARKED)
    record = Record({"prompt": "How do I pick a lock?", "response": "I won't help with that."}, HERE)
    spec = SourceSpec(path="rows.jsonl", as_text=True)
    columns = detect(record, spec)
    row = to_example(record, columns)
    renderer = Renderer(folder)
    ids, trained = renderer.encode(row)
    assert toy_tokenizer().decode(ids[:-1].tolist(), skip_special_tokens=False) == row.plain_text
    assert row.plain_text == "How do I pick a lock?\n\nI won't help with that."
    assert trained[1:].all() and columns.trained_as == "text" and str(columns).startswith("text: prompt")


def test_as_text_cannot_be_made_of_preferences() -> None:
    record = Record({"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}, HERE)
    columns = detect(record, SourceSpec(path="rows.jsonl", as_text=True))
    with pytest.raises(InputError, match="which answer is better"):
        to_example(record, columns)
