"""What a recipe says about training: rate, optimiser, preferences, memory, adapters, checkpoints.

A field left at None is derived by `resolve.py`; the text under a field is its description in the
JSON Schema that `bloomery schema` prints.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from bloomery.core.errors import InputError
from bloomery.core.secret import Secret
from bloomery.recipes.fields import Amount, Piece, Section, Size, Tokens
from bloomery.recipes.server_section import ServerSection


class ScheduleSection(Section):
    """Learning rate over the run; what is left out continues from the checkpoint."""

    kind: Literal["constant", "linear", "cosine", "wsd"] | None = None
    """`wsd`: hold, then anneal. Default: wsd from hot checkpoints, linear to zero from warm and cold ones."""
    lr: float | None = Field(default=None, gt=0)
    """The rate that is held, or decayed from. Default: from the checkpoint's own rate."""
    warmup: Piece | None = None
    """Default: none from hot and warm checkpoints, 1 % of the steps from cold ones."""
    anneal: Piece | None = None
    """The last part of a `wsd` run, in which the rate decays. Default 20 %."""
    anneal_by: Literal["decay", "merge"] | None = None
    """`merge`: hold the rate to the end, and average the weights over the anneal instead. Default: decay."""
    shape: Literal["linear", "1-sqrt", "cosine"] | None = None
    """Shape of the anneal. Default 1-sqrt."""
    final: float | None = Field(default=None, ge=0)
    """The rate at the end of the decay, absolute. Default 0."""

    @model_validator(mode="after")
    def _merge_of_a_held_rate(self) -> ScheduleSection:
        if self.anneal_by != "merge":
            return self
        if self.kind not in (None, "wsd"):
            raise InputError(
                f"`anneal_by: merge` averages the weights of a held rate, and `kind: {self.kind}` does not hold it",
                fix="remove `kind`, or set it to wsd",
            )
        if self.shape is not None or self.final is not None:
            key = "final" if self.shape is None else "shape"
            raise InputError(
                f"`{key}` says how the rate falls, and with `anneal_by: merge` it does not", fix=f"remove `{key}`"
            )
        return self


Momentum = Annotated[float, Field(ge=0, lt=1)]


class OptimSection(Section):
    """AdamW and what surrounds it."""

    betas: tuple[Momentum, Momentum] | None = None
    """AdamW's momenta. Default: the checkpoint's own, else 0.9 and 0.95 (OLMo 2, SmolLM3)."""
    settle: int | None = Field(default=None, ge=0)
    """First steps whose gradients fill AdamW's moments before the first update; their rows are trained on afterwards.
    Default: 1 / (1 - beta2) where full training continues at a hot checkpoint's rate, at most 15 % of the steps."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon (OLMo 2)."""
    weight_decay: float = Field(default=0.1, ge=0)
    """On matrices only; vectors and embeddings do not decay (OLMo 2, SmolLM3)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm."""
    z_loss: float | None = Field(default=None, ge=0)
    """Weight of the squared log-partition. Default 1e-5, 1e-4 when the rate falls more than tenfold (Marin)."""
    batch: Tokens | None = None
    """Tokens in one optimiser step. Default: the checkpoint's own batch, less when the budget is small."""


class PreferenceSection(Section):
    """What is made of preferences; used with the objectives dpo, ipo, kto and orpo."""

    beta: float = Field(default=0.1, gt=0)
    """How closely the model stays with its start: higher is closer (DPO, arXiv 2305.18290; IPO's tau, 2310.12036; KTO,
    2402.01306). ORPO, which knows no start: the weight of its odds ratio, lambda (2403.07691)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """DPO: the part of the pairs that is taken to be labelled the wrong way round (arXiv 2403.00409)."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """KTO: weight of desirable answers. With unequal counts, choose it so that weight times count is 1 to 4/3 of the
    other side's (arXiv 2402.01306, equation 8)."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """KTO: weight of undesirable answers."""
    replay_weight: float = Field(default=1.0, ge=0)
    """Weight of cross-entropy on all other rows beside that of preferences; with ORPO on the chosen answers too. Each
    of the two is a mean over its own rows."""


class PushSection(Section):
    """A server of yours that gets the tasks by `POST /rollout`, in place of claiming them (docs/orchestrators.md)."""

    url: str
    """Its address without `/rollout`; `GET /health` is asked before."""
    endpoint: str | None = None
    """The gateway's address as that server calls it. Default: `http://` and `orchestrators`."""
    concurrency: int = Field(default=96, ge=1, le=4096)
    """Rollouts under way at once."""
    rate_limit: float = Field(default=5.0, gt=0)
    """Rollouts begun in a second."""
    seconds: float = Field(default=600.0, gt=0)
    """Seconds without a call to the model, after which a rollout is given up and sent again."""
    tries: int = Field(default=3, ge=1, le=100)
    """How often a rollout is begun."""
    outage: float = Field(default=1800.0, gt=0)
    """Seconds in which the server takes nothing, after which the run ends; it can be resumed."""
    token: Secret | None = None
    """`{env: NAME}`: sent to the server as a bearer token."""
    private: bool = False
    """The server is on this machine or in a private network."""
    hosts: tuple[str, ...] = ()
    """Hosts that may be reached whatever their address."""


class EnvironmentSection(Section):
    """Where tasks of several turns are done. Every other key is an option of the environment itself."""

    model_config = ConfigDict(extra="allow")

    type: str
    """`repair`, `calculator`, `guess`, an adapter such as `gymnasium`, or a class of your own: `file.py:Class`
    (docs/environments.md)."""
    python: str | None = None
    """Interpreter of the environment's process, such as `path/to/venv/bin/python`. Default: this one."""
    turns: int = Field(default=8, ge=1)
    """Most answers of the model in one rollout."""
    tokens: int | None = Field(default=None, ge=1)
    """Most tokens that are sampled in one rollout. Default: what the context holds."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds that one call of the environment may take; the rollout is then unscorable."""
    deadline: float = Field(default=600.0, gt=0)
    """Seconds after which a rollout that is not over is unscorable."""
    processes: int = Field(default=1, ge=1, le=256)
    """Processes that the environments of a step are spread over; one that dies takes its own rollouts along."""
    at_once: int | None = Field(default=None, ge=1)
    """Most rollouts that are in environments at the same time, as a server's limit has it. Default: all of a step's."""
    passed: list[str] = []
    """Names of environment variables that its process may see."""
    right: float = 0.5
    """From this reward on a held-out task counts as done, in pass@1 and in what went from right to wrong."""


class RolloutSection(Section):
    """How answers are sampled and what becomes of their rewards; used with `objective: rl`."""

    group: int = Field(default=8, ge=2, le=1024)
    """Answers sampled to each task: rewards are held against those of the others. 16 or more where they are rare."""
    tasks: int = Field(default=8, ge=1)
    """Tasks in a step, on average; the blend draws them by their tokens. Without effect where `optim.batch` is set."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer."""
    orchestrators: str | None = None
    """`HOST:PORT` at which orchestrators claim the tasks, in place of answers sampled here; they send the rewards
    (docs/orchestrators.md). Their key is BLOOMERY_TOKEN."""
    lease: float = Field(default=120.0, gt=0)
    """Seconds in which an orchestrator must call the model or send a heartbeat; else another gets the rollout."""
    attempts: int = Field(default=2, ge=1, le=100)
    """How often a rollout may be begun by orchestrators before it is left out."""
    push: PushSection | None = None
    """A server of yours that the tasks are sent to."""
    aws_keys: dict[str, Secret] = {}
    """Access keys with their secrets, each `{env: NAME}`, by which clients of SageMaker sign what they send."""
    environment: EnvironmentSection | None = None
    """Where tasks take several turns; the reward is then the environment's, or that of `reward` for the transcript."""
    advantage: Literal["mean", "std", "leave_one_out", "batch_std", "running"] = "mean"
    """What a reward is held against: the mean of its group (Dr. GRPO, arXiv 2503.20783), that over its deviation (GRPO,
    2402.03300), the mean of the others (RLOO, 2402.14740), the group's mean over the batch's deviation (REINFORCE++
    with a baseline, 2501.03262), or a running mean."""
    norm: Literal["tokens", "rollouts"] = "tokens"
    """What counts alike in a step: every sampled token (DAPO, arXiv 2503.14476), or every rollout (GRPO)."""
    overlong: Literal["keep", "drop"] = "keep"
    """Answers that were cut off: graded as they are, or out of the loss and the baseline."""
    overlong_buffer: int = Field(default=0, ge=0)
    """Tokens before `max_tokens` over which up to 1 is taken off a reward, evenly (DAPO's soft overlong punishment,
    arXiv 2503.14476, equation 13); 0: nothing."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Divides the logits where answers are sampled, and where they are trained."""
    workers: int = Field(default=0, ge=0, le=64)
    """Processes that sample, each with the weights of the last step but `staleness`; 0: this one does."""
    engine: Literal["native", "vllm"] = "native"
    """What samples: the engine that shares the weights in training, or a vLLM server that gets the adapters."""
    server: ServerSection | None = None
    """The vLLM server; without it one is started."""
    staleness: int | None = Field(default=None, ge=0, le=64)
    """How many steps older the weights that sample may be than those that they train: so many are collected ahead. More
    than 1 is for orchestrators that are slow. Default: 1 with `workers` or vLLM, else 0."""
    resample: int = Field(default=0, ge=0, le=16)
    """How often in a step groups without any difference are replaced by those of new tasks, drawn evenly from the
    domain (DAPO's dynamic sampling, with an end)."""
    loss: Literal["clip", "cispo"] = "clip"
    """PPO's clipped ratio, or the clipped weight of CISPO (arXiv 2506.13585)."""
    level: Literal["token", "sequence"] = "token"
    """`sequence`: GSPO (arXiv 2507.18071)."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """How far below 1 the ratio may act."""
    clip_high: float = Field(default=0.28, gt=0)
    """How far above 1 (DAPO's clip-higher)."""
    correct: float = Field(default=2.0, ge=0)
    """Cap of the weight that corrects for what sampler and trainer compute differently (truncated importance sampling);
    0: none."""
    proximal: Literal["current", "sampled"] = "current"
    """What the ratio is taken against: the step's own policy, or the sampler's log-probabilities."""
    replay_weight: float = Field(default=1.0, ge=0)
    """Weight of cross-entropy on curated rows beside the policy gradient; each is a mean over its own tokens."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of the KL to the start on the trained tokens, beside the policy gradient; 0: none."""
    kl_every: int = Field(default=0, ge=0)
    """Steps between two measurements of the KL to the start on what was sampled; 0: it is not measured."""
    kl_cap: float | None = Field(default=None, gt=0)
    """Nats a token: over it rewards wait, and rollouts are trained towards the start alone until the KL is under it."""

    go: Literal["auto", "anyway"] = "auto"
    """Before the first step answers are sampled: where none is right, or nearly all are, the run is refused. `anyway`:
    it is only said."""
    watch: int = Field(default=0, ge=0)
    """Held-out tasks that are attempted as often as the held-out loss is measured (`eval.every`); 0: none."""
    outage: float = Field(default=1800.0, gt=0)
    """Seconds without any score from an endpoint or a judge's server after which the run stops; meanwhile it waits."""
    rescore: int = Field(default=20, ge=0)
    """Steps between two scorings of the same answers, where a judge scores: whether it still says what it said."""

    @field_validator("correct")
    @classmethod
    def _caps_at_one_or_more(cls, value: float) -> float:
        if 0 < value < 1:
            said = f"`rollouts.correct: {value:g}` caps a weight that is 1 where sampler and trainer agree"
            raise InputError(said, fix="set it to 1 or more, or to 0 for no weight")
        return value

    @model_validator(mode="after")
    def _together(self) -> RolloutSection:
        if self.overlong_buffer > self.max_tokens:
            said = f"`overlong_buffer: {self.overlong_buffer}` is more than `max_tokens: {self.max_tokens}`"
            raise InputError(said, fix="lower `overlong_buffer`")
        if self.kl_cap is not None and not self.kl_every:
            said = f"`kl_cap: {self.kl_cap:g}` is held against a measurement, and `kl_every: 0` makes none"
            raise InputError(said, fix="set `kl_every`, such as 5")
        if self.resample and self.advantage == "running":
            said = "`resample` replaces groups without any difference, and `advantage: running` compares no groups"
            raise InputError(said, fix="remove `resample`, or choose another `advantage`")
        return self


class Memory(Section):
    """What has to fit. `memory: auto` picks what fits and says so."""

    limit: Size | None = None
    """Most memory the run may plan with: the fastest setting within it is taken, and a run whose smallest step does not
    fit is refused. Default: 90 % of what the device has free."""
    micro_tokens: Tokens | None = None
    """Most tokens in one forward pass."""
    activation_checkpointing: bool | None = None
    """Recompute activations in the backward pass: about a third more time, far less memory."""
    state: Literal["fp32", "bf16"] | None = None
    """Type of the optimiser's two moments."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Type of the arithmetic; weights are kept in fp32 beside it. Auto: bf16 where the hardware multiplies it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains. Auto: a GPU where there is one."""

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, value: Any) -> Any:
        return {} if value == "auto" else value


class Lora(Section):
    """Low-rank adapters; used with `method: lora`."""

    rank: int | None = Field(default=None, ge=1)
    """Default 256, at most half the hidden width (Biderman et al., arXiv 2405.09673: full rank is 10-100 x more)."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale of the update, which is alpha / rank times the two matrices. Default: twice the rank; with `rslora` 16
    (QLoRA, arXiv 2305.14314)."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank), which keeps the update's size at any rank (arXiv 2312.03732)."""
    plus: float | None = Field(default=None, ge=1)
    """LoRA+: the learning rate of the matrix B over that of A, such as 16 (arXiv 2402.12354). Default: both learn at
    one rate."""
    target: Literal["all-linear", "attention"] = "all-linear"
    """Which matrices get an adapter (all-linear: arXiv 2405.09673)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""


class Checkpoints(Section):
    """When the run saves itself."""

    every: Amount | None = None
    """Default: eight times in the run, at least every 200 steps."""
    keep: int = Field(default=2, ge=1)
    """How many of the newest are kept beside the best one."""
