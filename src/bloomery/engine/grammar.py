"""Answers held to a JSON schema, a regular expression or a grammar, by llguidance: which tokens may come next."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bloomery.engine.endings import Ending, Endings
from bloomery.engine.json_schema import OPTIONS, held
from bloomery.engine.protocol import Grammar, UnusableGrammar

KEPT = 32
"""Compiled grammars that are kept: the n answers of a request, and requests of one program, have the same."""
NEAR = 256
"""Tokens before its limit from which an answer is watched that it can still end."""
CLOSE = 16
"""Spare tokens from which it is watched at every token; before, after each quarter of what it has to spare."""
SAME = 8
"""Tokens that may fall away from the front of an ending before another one is looked for."""
ENDLESS = "ff_tokens"
"""In llguidance's error where what must follow is longer than it reads ahead, as `x: "a" x` is."""
UNFORCED = '%llguidance {"no_forcing": true}\n'
"""Before a grammar in Lark's syntax: nothing is read ahead."""


class Grammars:
    """Compiles grammars for one tokenizer."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: tuple[int, ...]) -> None:
        """`tokenizer` is a fast Hugging Face one; `ends` are the ids that end an answer."""
        import llguidance.hf  # only here: most answers have no grammar

        self.vocabulary = vocabulary
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends) or None)
        self._endings = Endings(self._tokenizer)
        self._compiled = lru_cache(KEPT)(self._compile)

    def matcher(self, grammar: Grammar) -> Matcher:
        """Follows one answer. Raises `UnusableGrammar` with the reason, a JSON schema's with the keyword."""
        matcher, unforced, shortest = self._compiled(grammar)
        needed = len(shortest) if grammar.texts and shortest is not None else 0
        return Matcher(matcher.deep_copy(), unforced, self.vocabulary, self._endings, shortest, needed)

    def _compile(self, grammar: Grammar) -> tuple[Any, Callable[[], Any], Ending | None]:
        """(llguidance's matcher at the beginning, one that reads nothing ahead, the shortest answer that is found)."""
        from llguidance import LLMatcher

        options: Any = OPTIONS
        compile_ = {
            "json_schema": lambda text: LLMatcher.grammar_from_json_schema(held(text), overrides=options),
            "regex": LLMatcher.grammar_from_regex,
            "lark": lambda text: LLMatcher.grammar_from_lark(_lark(text)),
        }[grammar.kind]
        try:
            text = compile_(grammar.text)
            # A warning is a keyword that would not be kept to.
            notes = LLMatcher.validate_grammar_with_warnings(text, self._tokenizer)[1]
        except (ValueError, RecursionError) as error:
            if isinstance(error, UnusableGrammar):
                raise
            notes = [str(error)]
        if not notes:
            matcher = LLMatcher(self._tokenizer, text, log_level=0)
            if not any(matcher.compute_bitmask()) or matcher.is_error():  # told when it is first asked
                notes = ["there is no answer of this form"]
            elif _endless(matcher):
                notes = ["what every answer begins with never ends, or not in reach; give the recursion a way out"]
        if notes:
            reason = _reworded(str(notes[0]))
            raise UnusableGrammar(f"the {grammar.kind.replace('_', ' ')} cannot be used: {reason}", fix="correct it")
        if grammar.texts:
            known = (self._endings.checked(matcher, self._tokenizer.tokenize_str(text)) for text in grammar.texts)
            shortest = min((one for one in known if one is not None), key=len, default=None)
        else:
            shortest = self._endings.shortest(matcher)
        return matcher, lambda: LLMatcher(self._tokenizer, _unforced(grammar.kind, text), log_level=0), shortest


def _endless(matcher: Any) -> bool:
    """Whether what must come first has no end that llguidance reaches."""
    walk = matcher.deep_copy()
    walk.consume_tokens(walk.compute_ff_tokens()[:1])
    return ENDLESS in walk.get_error()


def _unforced(kind: str, text: str) -> str:
    """The same grammar, of what is not forced: llguidance then tells no more than which token may be next."""
    if kind == "json_schema":
        text = f"start: %json {json.dumps(json.loads(text)['grammars'][0]['json_schema'])}"
    return UNFORCED + text


def _lark(text: str) -> str:
    """A grammar in Lark's syntax, from GBNF where it has that one's `::=`. Raises `ValueError`."""
    from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark, is_lark_syntax

    if "::=" not in text or is_lark_syntax(text):
        return text
    try:
        return str(gbnf_to_lark(text))
    except GbnfToLarkError as error:
        raise ValueError(str(error)) from None


def _reworded(reason: str) -> str:
    """llguidance's reason in terms of the schema."""
    if reason.startswith("Unimplemented keys: "):
        keys = json.loads(reason.removeprefix("Unimplemented keys: "))
        return f"{', '.join(f'`{key}`' for key in keys)} cannot be held to"
    if reason.startswith("oneOf constraints"):
        return "`oneOf` whose branches are not plainly apart; use `anyOf`"
    lines = reason.splitlines()
    line = next((one for one in lines if one.startswith("error: ")), lines[0]).removeprefix("error: ")
    about = "`pattern`: " if reason.startswith(("regex parse error", "lookarounds")) else ""
    return about + line.replace("Unknown format: ", "`format` cannot be held to: ")


class Matcher:
    """What may follow in one answer."""

    def __init__(
        self, matcher: Any, unforced: Callable[[], Any], vocabulary: int, endings: Endings, shortest: Ending | None,
        needed: int = 0,
    ) -> None:  # fmt: skip
        from llguidance.torch import allocate_token_bitmask

        self._matcher, self._bits = matcher, allocate_token_bitmask(1, vocabulary)
        self._unforced, self._taken = unforced, list[int]()
        self._endings, self._ending = endings, shortest
        self.least = 0 if shortest is None else len(shortest)
        """Tokens of the shortest whole answer that was found; 0 where none was."""
        self.needed = needed
        """Tokens that every answer has; 0 where that is not known."""
        self._watched = shortest is not None
        self._looks_from = max(NEAR, 4 * self.least)

    def mask(self, logits: Tensor) -> None:
        """Set the logits fp32[V] of tokens that may not come to minus infinity, in place."""
        from llguidance.torch import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        bits = self._bits[0].to(logits.device)
        allowed = (bits[:, None] >> torch.arange(32, device=logits.device, dtype=bits.dtype)) & 1
        logits.masked_fill_(~allowed.flatten()[: len(logits)].bool(), -torch.inf)

    def within(self, token: int, left: int) -> int:
        """`token`, or another one where no answer is found that ends within `left` tokens after it.

        An answer that may have many more tokens is left alone, as is one whose end is further off already, or was not
        found: it is not looked for again.
        """
        if not self._watched or left > self._looks_from:
            self._ending = None  # not followed
            return token
        now = self._ending or self._endings.find(self._matcher)
        spare = -1 if now is None else left + 1 - len(now)
        if now is None or spare < 0:
            self._watched = False
            return token
        if spare > CLOSE:
            self._ending, self._looks_from = None, left - spare // 4
            return token
        self._ending = self._after(token, now, left)
        if self._ending is not None:
            return token
        self._ending = Ending(now.ids[1:], now.stop)
        return now.ids[0] if now.ids else self._endings.stop

    def _after(self, token: int, now: Ending, left: int) -> Ending | None:
        """An ending of at most `left` tokens after `token`, made of the one before it where it can."""
        walk = self._matcher.deep_copy()
        if not walk.consume_token(token):
            return None
        if walk.is_stopped():
            return Ending((), stop=False)
        for start in range(min(len(now.ids), SAME) + 1):
            found = self._endings.checked(walk, now.ids[start:])
            if found is not None and len(found) <= left:
                return found
        found = self._endings.find(walk)
        return found if found is not None and len(found) <= left else None

    def take(self, token: int) -> str:
        """Go on by one token; the reason where the grammar cannot.

        An answer that came to where it must go on without end goes on, unforced, as long as it may.
        """
        self._taken.append(token)
        self._matcher.consume_token(token)
        if ENDLESS in self._matcher.get_error():
            self._matcher, self._ending, self._watched = self._unforced(), None, False
            self._matcher.consume_tokens(self._taken)
        return str(self._matcher.get_error()) if self._matcher.is_error() else ""

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())
