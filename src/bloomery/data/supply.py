"""Checks of shares before training: they sum to one, name known sources, and the sources last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bloomery.core.errors import InputError, nearest
from bloomery.core.rows import Segment
from bloomery.data.cursor import Sizes


def check_segments(segments: Sequence[Segment], tables: Mapping[str, Sizes]) -> None:
    """Raises `InputError` unless segments begin at step 0, follow in order, and share among known sources to 100 %."""
    if not segments or segments[0].start != 0:
        raise InputError("the first segment of shares must start at step 0")
    for before, after in zip(segments, segments[1:], strict=False):
        if after.start <= before.start:
            raise InputError(f"a segment from step {after.start} follows one from step {before.start}")
    for segment in segments:
        for name, share in segment.share.items():
            if name not in tables:
                raise InputError(f"`{name}` has a share but no rows{nearest(name, tables)}")
            if not 0 <= share <= 1:
                raise InputError(f"the share of `{name}` is {share:g}, outside 0 to 1")
        total = sum(segment.share.values())
        if abs(total - 1) > 1e-6:
            message = f"the shares from step {segment.start} sum to {total:.1%}, not 100 %"
            raise InputError(message, fix="change `share`")


def demand(segments: Sequence[Segment], steps: int, batch_tokens: int) -> dict[str, float]:
    """Tokens that the shares ask of each source over `steps` steps."""
    asked: dict[str, float] = {}
    for index, segment in enumerate(segments):
        end = segments[index + 1].start if index + 1 < len(segments) else steps
        tokens = max(0, min(end, steps) - segment.start) * batch_tokens
        for name, share in segment.share.items():
            asked[name] = asked.get(name, 0.0) + share * tokens
    return asked


def check_supply(
    tables: Mapping[str, Sizes], segments: Sequence[Segment], steps: int, batch_tokens: int, cap: float = 4.0
) -> dict[str, float]:
    """Epochs asked of each source; refuses a share that needs more than `cap` of them, `rounding` aside.

    Four epochs are nearly as good as fresh data, later ones are worth little (Muennighoff et al. 2023,
    arXiv 2305.16264). Raises `InputError` naming the source, what it has and what would fit.
    """
    epochs = {}
    for name, tokens in demand(segments, steps, batch_tokens).items():
        supply = int(tables[name].lengths.sum())
        epochs[name] = tokens / supply
        if tokens > cap * supply + rounding(supply, batch_tokens):
            raise InputError(
                f"source `{name}` has {supply:,} tokens; its share asks for {tokens:,.0f}, that is {epochs[name]:.1f} "
                f"epochs, above the repetition cap of {cap:g}",
                fix=f"lower its share to {cap / epochs[name]:.1%} of what it is, lower `budget`, add rows, "
                "or raise `repetition_cap`",
            )
    return epochs


def rounding(supply: float, batch_tokens: int) -> float:
    """Tokens that a source may give beyond its cap, because the last step is a whole one: `budget: 4 epochs` needs it.

    Never more than one pass: a step that is larger than the source repeats it by itself.
    """
    return min(supply, float(batch_tokens))
