"""How answers are sampled is the run's to say, since their log-probabilities are trained on.

What a client wants otherwise is refused by name, or overridden and told in a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bloomery.core.errors import InputError
from bloomery.serve.errors import Refusal
from bloomery.serve.wire.chat import ChatRequest, NamedTool

PLAIN: dict[str, Any] = {
    "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}  # fmt: skip
"""What leaves the model's own distribution as it is: anything else would make the trained log-probability another one
than the sampled."""


@dataclass(frozen=True, slots=True)
class Forced:
    """`temperature` and most tokens of one answer. `lenient` overrides what a client asks for instead of refusing it.

    `seed` makes a run's samples repeatable: each call has its own, whatever seed a client sends.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    lenient: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            message = f"`temperature: {self.temperature}` gives no log-probabilities to train on"
            raise InputError(message, fix="set it above 0; 1 samples from the model as it is")
        if self.max_tokens < 1:
            raise InputError(f"`max_tokens: {self.max_tokens}` leaves no answer", fix="set it to 1 or more")

    def check(self, body: ChatRequest) -> list[str]:
        """Names of what a request wants otherwise, where that is overridden. Raises `Refusal` 400 where it is not."""
        if (body.n or 1) != 1:
            message = "`n` above 1 is not sampled in a rollout; send the request again, each is a branch of its own"
            raise Refusal(400, message, param="n", code="forced_parameter")
        wanted = [name for name, value in self._values().items() if getattr(body, name) not in (None, value)]
        wanted += ["logit_bias"] if body.logit_bias else []
        wanted += ["response_format"] if body.response_format and body.response_format.type != "text" else []
        wanted += ["structured_outputs"] if body.structured_outputs else []
        wanted += ["tool_choice"] if isinstance(body.tool_choice, NamedTool) or body.tool_choice == "required" else []
        if wanted and not self.lenient:
            value = self._values().get(wanted[0], "none")
            message = f"`{wanted[0]}` is set by the training run ({value}): leave it out"
            raise Refusal(400, message, param=wanted[0], code="forced_parameter")
        return wanted + (["seed"] if body.seed is not None else [])

    def _values(self) -> dict[str, Any]:
        return {"temperature": self.temperature, **PLAIN}

    def to_json(self) -> dict[str, Any]:
        """What workers are told."""
        return {"temperature": self.temperature, "top_p": 1.0, "max_tokens": self.max_tokens}
