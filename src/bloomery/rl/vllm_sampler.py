"""A vLLM server as what samples: it gets the adapters in training by path, each version under a name of its own.

vLLM finds kept keys and values (its prefix cache) by an adapter's name and path and looks at neither's contents. So no
name comes twice, not even where a run that was killed publishes the same versions again at the same paths.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import numpy as np

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.rows import TokenRow
from bloomery.engine.native import NativeEngine, end_ids
from bloomery.engine.protocol import Busy, Completion, Request, Sampling, Ticket, Token
from bloomery.engine.vllm import VllmEngine, VllmService
from bloomery.models.load import Loaded
from bloomery.rl.published import Published

TRIED = 32
"""Tokens that are sampled to compare the server with the model in training."""
APART = 0.5
"""Nats by which their log-probabilities may differ in the mean: bf16 against fp32 makes hundredths, another model or
another adapter whole nats. Ours."""

UNDER_WAY = 1024
"""Answers that may stream or wait at once; the gateway has limits of its own."""


class VllmSampler:
    """An engine over a vLLM server that serves the base of `loaded`, whose adapters `renew` publishes for it.

    What is sampled before the first version is sampled by the base, as which adapters begin. `end` stops the server
    where it is ours.
    """

    def __init__(
        self, engine: VllmEngine, published: Published, loaded: Loaded, temperature: float,
        end: Callable[[], None] = lambda: None, tag: str = "",
    ) -> None:  # fmt: skip
        self._engine, self._published, self._loaded, self._end = engine, published, loaded, end
        self._temperature, self._tag = temperature, tag or f"bloomery-{secrets.token_hex(6)}"
        self._stops = end_ids(loaded.model, loaded.config)
        self.adapter = ""
        """The name of what samples now."""

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        return self._engine.context

    def renew(self, version: int) -> None:
        """Sample with the adapters as they are now, and never again with those before.

        Raises `InputError` where the server's log-probabilities are not those of the model in training.
        """
        place, before = self._published.renew(version), self.adapter
        name = f"{self._tag}-{place.name}"
        if name == before:
            return
        self._engine.load_adapter(name, place, new=True)
        self.adapter = name
        if before:
            self._engine.drop_adapter(before)
        else:
            self._compare()

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer for each prompt, in order."""
        return self.answer([Request(prompt, sampling, number=number) for number, prompt in enumerate(prompts)])

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order. Raises `BloomeryError` where the server gives no whole answer."""
        try:
            answers = self._engine.answer([self.named(one) for one in requests])
        except Busy as error:
            raise BloomeryError(f"the vLLM server at {self._engine.url} takes no more: {error}") from None
        for answer in answers:
            if answer.finish_reason not in ("stop", "length") or not np.isfinite(answer.logprobs).all():
                said = f"the vLLM server at {self._engine.url} broke an answer off, or tells no probability of a token"
                raise BloomeryError(said, fix="see its log, then `bloomery resume`")
        return answers

    def named(self, request: Request) -> Request:
        """The request, to the adapters of now; it ends where the model in training would end it."""
        stops = request.sampling.stop_ids
        sampling = replace(request.sampling, stop_ids=self._stops if stops is None else stops)
        return replace(request, adapter=self.adapter, sampling=sampling)

    def service(self) -> SamplingService:
        """The same, answering as requests come."""
        return SamplingService(self, self._engine)

    def close(self) -> None:
        """Forget the adapters, and stop the server where it is ours."""
        with ExitStack() as last:  # whatever one of them raises, the others are done
            last.callback(self._published.close)
            last.callback(self._end)
            last.callback(self._engine.close)
            if self.adapter:
                with suppress(BloomeryError):
                    self._engine.drop_adapter(self.adapter)

    def _compare(self) -> None:
        """Raise `InputError` where the server answers with another model than the one in training."""
        sampling = Sampling(TRIED, temperature=self._temperature, stop_ids=())
        prompt = [*range(8)]
        [answer] = self.generate([prompt], sampling)
        row = TokenRow(np.array([*prompt, *answer.ids], np.int32), {}, "tried", "", "")
        [here] = NativeEngine(self._loaded).score([row], self._temperature)
        apart = float(np.abs(here[len(prompt) :] - answer.logprobs).mean())
        if apart > APART:
            raise InputError(
                f"the vLLM server at {self._engine.url} answers with another model than the one in training: their "
                f"log-probabilities are {apart:.2g} nats apart",
                fix=f"have it serve {self._loaded.folder}, or remove `rollouts.server.url`, and one is started",
            )


class SamplingService:
    """`Service` over the server of a `VllmSampler`, with the adapters that it has then."""

    def __init__(self, sampler: VllmSampler, engine: VllmEngine) -> None:
        self._sampler = sampler
        self._service = VllmService(
            engine.url, engine.token, most=UNDER_WAY, exact=True, model=engine.model, mode=engine.mode
        )

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        return self._service.context

    def start(self) -> None:
        """The server runs already."""

    def submit(self, request: Request, told: Callable[[Token], None]) -> Ticket:
        """Take in a request. Raises `InputError`, or `Busy`."""
        return self._service.submit(self._sampler.named(request), told)

    def forget(self) -> None:
        """What the server keeps is found by the adapter's name: nothing is left of older ones."""

    def stop(self) -> None:
        """Take in no more; streams that go on end with the server."""
        self._service.close()
        self._sampler.close()
