"""This engine and transformers' `generate()` on the same tiny Llama and prompts, interleaved: tokens a second.

    python bench/generate.py [--rounds 5] [--threads 2] [--dtype float32 bfloat16] [--large]

Answers are sampled at temperature 1 among all tokens, and end nowhere before their length. In `mixed` each of 64
requests has its own length; transformers pads prompts on the left, and answers until the longest is done: what is
beyond a request's own length does not count. The profile sorts the time of operators by what they are for; Python is
what is left of the wall time. `--large` answers few requests with a model of 387M. Figures stand in docs/BENCH.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from workload import MODEL

from bloomery.engine import batch, scheduler
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Request, Sampling
from bloomery.engine.scheduler import Scheduler
from bloomery.models.head import find_head
from bloomery.models.load import Loaded

VOCABULARY = 8192
LARGE = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "vocab_size": 32768,
}
Work = list[tuple[list[int], int]]
"""(prompt, tokens wanted) of each request."""


def even(rows: int = 64, prompt: int = 32, new: int = 128) -> Work:
    """Requests of one shape."""
    draw = np.random.default_rng(0)
    return [(draw.integers(3, VOCABULARY, prompt).tolist(), new) for _ in range(rows)]


def mixed(rows: int = 64) -> Work:
    """Prompts of 8 to 256 tokens and answers of 8 to 512, most of them short."""
    draw = np.random.default_rng(1)
    prompts = np.exp(draw.uniform(np.log(8), np.log(256), rows)).astype(int)
    answers = np.exp(draw.uniform(np.log(8), np.log(512), rows)).astype(int)
    return [(draw.integers(3, VOCABULARY, p).tolist(), int(n)) for p, n in zip(prompts, answers, strict=True)]


def ours(engine: NativeEngine, work: Work, plan: Scheduler | None = None) -> tuple[float, list[float]]:
    """(seconds, seconds to each request's first token)."""
    plan, answers = plan or engine.scheduler(), [Answer() for _ in work]
    began, first = time.perf_counter(), []

    def told(answer: Answer) -> Callable[..., None]:
        def take(token: object) -> None:
            if not answer.ids:
                first.append(time.perf_counter() - began)
            answer.take(token)  # type: ignore[arg-type]

        return take

    for number, ((prompt, new), answer) in enumerate(zip(work, answers, strict=True)):
        request = Request(prompt, Sampling(new, temperature=1.0, stop_ids=()), number=number)
        plan.waiting.append(engine.accept(request, told(answer), plan.backend.fits))
    while plan.busy:
        plan.step()
    took = time.perf_counter() - began
    assert [len(answer.ids) for answer in answers] == [new for _, new in work]
    return took, first


@torch.inference_mode()
def theirs(model: LlamaForCausalLM, work: Work) -> float:
    """Seconds of `generate()` over the same requests as one padded batch."""
    longest = max(len(prompt) for prompt, _ in work)
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt, _ in work])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _ in work])
    most = max(new for _, new in work)
    began = time.perf_counter()
    out = model.generate(
        ids, attention_mask=mask, do_sample=True, top_k=0, min_new_tokens=most, max_new_tokens=most, pad_token_id=0
    )
    took = time.perf_counter() - began
    assert out.shape[1] == longest + most
    return took


def compare(name: str, engine: NativeEngine, model: LlamaForCausalLM, work: Work, rounds: int) -> None:
    """Print both speeds and their ratio over interleaved rounds."""
    tokens = sum(new for _, new in work)
    warm = [(prompt, 4) for prompt, _ in work]
    ours(engine, warm), theirs(model, warm)
    pairs, first = [], []
    for _ in range(rounds):
        took, waits = ours(engine, work)
        pairs.append((took, theirs(model, work)))
        first.append(statistics.median(waits))
    ratios = sorted(b / a for a, b in pairs)
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{name}: {tokens / mine:,.0f} tokens/s, transformers {tokens / other:,.0f}; ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); first token after "
        f"{statistics.median(first) * 1e3:.0f} ms in the middle",
        flush=True,
    )


def group(engine: NativeEngine, rounds: int) -> None:
    """Print what a group of 16 with one prompt costs in single prefills."""
    prompt, plan = even(1, 1024)[0][0], engine.scheduler()
    pairs = []
    for _ in range(rounds + 1):
        one, _ = ours(engine, [(prompt, 1)], plan)
        sixteen, _ = ours(engine, [(prompt, 1)] * 16, plan)
        pairs.append(sixteen / one)
    ratios = sorted(pairs[1:])
    print(f"a group of 16 costs {statistics.median(ratios):.2f} prefills ({ratios[0]:.2f} to {ratios[-1]:.2f})")


KINDS = {
    "keys and values": ("aten::bmm", "aten::_softmax", "aten::index_put_", "aten::_index_put_impl_", "aten::cat",
                        "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::masked_fill", "aten::copy_"),
    "linear": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
}  # fmt: skip


def profile(engine: NativeEngine, work: Work) -> None:
    """Print where the time of decoding goes."""
    inner = scheduler.choose

    def choose(*given: object) -> object:
        with torch.profiler.record_function("sampling"):
            return inner(*given)  # type: ignore[arg-type]

    scheduler.choose = choose  # type: ignore[assignment]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        took, _ = ours(engine, work)
    scheduler.choose = inner
    events = {event.key: event for event in seen.key_averages()}
    sampling = events["sampling"].cpu_time_total / 1e6
    told = {"sampling": sampling}
    for kind, names in KINDS.items():
        told[kind] = sum(events[name].self_cpu_time_total for name in names if name in events) / 1e6
    operators = sum(event.self_cpu_time_total for key, event in events.items() if key != "sampling") / 1e6
    told["other operators"] = max(0.0, operators - sum(told.values()))
    told["Python"] = max(0.0, took - operators)
    print("step: " + ", ".join(f"{kind} {100 * seconds / took:.0f} %" for kind, seconds in told.items()))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for dtype in given.dtype:
        torch.manual_seed(0)
        config = LlamaConfig(**LARGE) if given.large else LlamaConfig(**MODEL, vocab_size=VOCABULARY)
        model = LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
        engine = NativeEngine(Loaded(model, None, config, None, "padded", "", find_head(model)))
        assert engine.ragged
        print(f"{dtype}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, chunk {batch.CHUNK}")
        if given.large:
            for rows in (1, 4, 16):
                compare(f"{rows} requests of 32 + 24", engine, model, even(rows, 32, 24), given.rounds)
            continue
        compare("64 requests of 32 + 128", engine, model, even(), given.rounds)
        compare("64 requests of mixed length", engine, model, mixed(), given.rounds)
        compare("one request of 32 + 128", engine, model, even(1), given.rounds)
        group(engine, given.rounds)
        profile(engine, even())


if __name__ == "__main__":
    main()
