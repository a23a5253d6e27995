"""Answers held to a JSON schema, a regular expression or a grammar, by llguidance: which tokens may come next."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from bloomery.engine.json_schema import OPTIONS, held
from bloomery.engine.protocol import Grammar, UnusableGrammar


class Grammars:
    """Compiles grammars for one tokenizer."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: tuple[int, ...]) -> None:
        """`tokenizer` is a fast Hugging Face one; `ends` are the ids that end an answer."""
        import llguidance.hf  # only here: most answers have no grammar

        self.vocabulary = vocabulary
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends) or None)

    def matcher(self, grammar: Grammar) -> Matcher:
        """Follows one answer. Raises `UnusableGrammar` with the reason, a JSON schema's with the keyword."""
        from llguidance import LLMatcher

        options: Any = OPTIONS
        compile_ = {
            "json_schema": lambda text: LLMatcher.grammar_from_json_schema(held(text), overrides=options),
            "regex": LLMatcher.grammar_from_regex,
            "lark": LLMatcher.grammar_from_lark,
        }[grammar.kind]
        try:
            text = compile_(grammar.text)
            # A warning is a keyword that would not be kept to.
            notes = LLMatcher.validate_grammar_with_warnings(text, self._tokenizer)[1]
        except (ValueError, RecursionError) as error:
            if isinstance(error, UnusableGrammar):
                raise
            notes = [str(error)]
        if notes:
            reason = _reworded(str(notes[0]))
            raise UnusableGrammar(f"the {grammar.kind.replace('_', ' ')} cannot be used: {reason}", fix="correct it")
        return Matcher(LLMatcher(self._tokenizer, text, log_level=0), self.vocabulary)


def _reworded(reason: str) -> str:
    """llguidance's reason in terms of the schema."""
    if reason.startswith("Unimplemented keys: "):
        keys = json.loads(reason.removeprefix("Unimplemented keys: "))
        return f"{', '.join(f'`{key}`' for key in keys)} cannot be held to"
    if reason.startswith("oneOf constraints"):
        return "`oneOf` whose branches are not plainly apart; use `anyOf`"
    line = reason.splitlines()[-1 if reason.startswith("regex parse error") else 0].removeprefix("error: ")
    about = "`pattern`: " if reason.startswith(("regex parse error", "lookarounds")) else ""
    return about + line.replace("Unknown format: ", "`format` cannot be held to: ")


class Matcher:
    """What may follow in one answer."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        from llguidance.torch import allocate_token_bitmask

        self._matcher, self._bits = matcher, allocate_token_bitmask(1, vocabulary)

    def mask(self, logits: Tensor) -> None:
        """Set the logits fp32[V] of tokens that may not come to minus infinity, in place."""
        from llguidance.torch import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        bits = self._bits[0].to(logits.device)
        allowed = (bits[:, None] >> torch.arange(32, device=logits.device, dtype=bits.dtype)) & 1
        logits.masked_fill_(~allowed.flatten()[: len(logits)].bool(), -torch.inf)

    def take(self, token: int) -> str:
        """Go on by one token; the reason where the grammar cannot."""
        self._matcher.consume_token(token)
        return str(self._matcher.get_error()) if self._matcher.is_error() else ""

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())
