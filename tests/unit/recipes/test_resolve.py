"""Laws of the plan: every value decided, by the checkpoint's state where the user said nothing, and saying why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.recipes.configure import segments, source_specs, train_config
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.resolve import resolve
from bloomery.recipes.settle import settle

Load = Callable[..., Loaded]
TEXT = "family: tiny\ndata: {domain: text.jsonl}\nbudget: 1M tokens\n"


def test_a_hot_checkpoint_continues_at_its_own_rate_without_warm_up(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "start: hot\n"))
    assert plan.get("schedule.lr") == 1e-3
    assert (plan.get("schedule.kind"), plan.get("schedule.warmup")) == ("wsd", 0.0)


def test_a_warm_checkpoint_continues_at_the_rate_of_its_schedule(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "start: warm\n"))
    assert plan.get("schedule.lr") == pytest.approx(1e-3 * (1 - 3 / 4))
    assert (plan.get("schedule.kind"), plan.get("schedule.warmup")) == ("linear", 0.0)


@pytest.mark.parametrize(
    ("start", "changes", "steps"),
    [
        ("hot", [], 20),  # 1 / (1 - 0.95)
        ("hot", ["optim.betas=[0.9, 0.99]"], 36),  # 100, but at most 15 % of the run's 244
        ("hot", ["schedule.warmup=1%"], 0),
        ("hot", ["method=lora"], 0),
        ("hot", ["optim.settle=3"], 3),
        ("warm", [], 0),
        ("cold", [], 0),
    ],
)
def test_moments_are_filled_where_a_run_continues_at_a_hot_rate(
    recipe: Load, start: str, changes: list[str], steps: int
) -> None:
    plan = resolve(recipe(TEXT + f"start: {start}\n", *changes))
    assert plan.get("optim.settle") == steps
    assert train_config(plan).settle == steps


def test_a_runs_momenta_are_those_of_its_start(recipe: Load) -> None:
    plan = resolve(recipe("family: ember\nstart: pretrained\nbudget: 1M tokens\n"))
    assert plan.get("optim.betas") == [0.9, 0.99]
    assert resolve(recipe(TEXT + "start: hot\n")).get("optim.betas") == [0.9, 0.95]


def test_a_cold_checkpoint_is_rewarmed_to_a_third_of_its_peak(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "start: cold\n"))
    assert plan.get("schedule.lr") == pytest.approx(0.3e-3)
    assert (plan.get("schedule.kind"), plan.get("schedule.warmup")) == ("linear", 0.01)


def test_a_scaffold_starts_at_the_familys_peak(recipe: Load) -> None:
    plan = resolve(recipe("family: tiny\nstart: scaffold\nbudget: 1M tokens\n"))
    assert plan.get("schedule.lr") == 1e-3
    assert plan.get("data.share") == 0.0
    assert [source.name for source in plan.sources] == ["web", "code"]


def test_a_smaller_batch_scales_the_rate_by_its_square_root(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "start: hot\n", "optim.batch=1024"))
    assert plan.get("schedule.lr") == pytest.approx(0.5e-3)


def test_a_small_budget_gets_a_smaller_batch_and_at_least_a_hundred_steps(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "start: hot\n", "budget=100k tokens"))
    assert plan.get("optim.batch_tokens") == 896
    assert plan.get("budget.steps") == 112


def test_fine_tuning_takes_the_familys_rate_and_conversations(recipe: Load) -> None:
    plan = resolve(recipe("family: tiny\nstart: chat\ndata: {domain: pairs.jsonl}\n"))
    assert plan.get("objective") == "sft"
    assert plan.get("schedule.lr") == 2e-4
    assert plan.get("curated.mix") == "post"
    lora = resolve(recipe("family: tiny\nstart: chat\nmethod: lora\ndata: {domain: pairs.jsonl}\n"))
    assert lora.get("schedule.lr") == pytest.approx(2e-3)
    assert lora.get("lora.rank") == 32  # half the hidden width


def test_what_the_user_sets_wins_and_says_so(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "schedule: {lr: 3e-5, kind: cosine, warmup: 10 steps}\noptim: {z_loss: 0}\n"))
    assert plan.get("schedule.lr") == 3e-5
    assert plan.get("schedule.warmup") == pytest.approx(10 / plan.get("budget.steps"))
    assert plan.get("optim.z_loss") == 0
    for key in ("schedule.lr", "schedule.kind", "schedule.warmup", "optim.z_loss", "budget.tokens"):
        assert plan.origin(key) == "user", key
    assert plan.origin("schedule.final") == "stage default"


def test_start_auto_takes_pairs_to_the_post_trained_checkpoint_and_text_to_mid(recipe: Load) -> None:
    assert resolve(recipe("family: tiny\ndata: {domain: pairs.jsonl}\n")).get("start.ref") == "tiny/chat"
    plan = resolve(recipe(TEXT))
    assert plan.get("start.ref") == "tiny/warm"
    assert "300M tokens" in plan.values["start.ref"].why
    assert resolve(recipe("family: tiny\ndata: {domain: [text.jsonl, pairs.jsonl]}\n")).get("objective") == "text"


def test_an_unknown_start_names_what_to_use_instead(recipe: Load) -> None:
    with pytest.raises(InputError, match=r"recipe.yaml:4: the family `tiny` has no checkpoint `pretrained`") as caught:
        resolve(recipe(TEXT + "start: pretrained\n"))
    assert caught.value.fix == "use `start: hot`"


def test_a_context_beyond_the_checkpoints_is_refused(recipe: Load) -> None:
    with pytest.raises(InputError, match="longer than the 128 tokens"):
        resolve(recipe("family: tiny\ndata: {domain: text.jsonl, context: 256}\n"))


def test_shares_of_the_blend_sum_to_one_and_divide_the_domain_by_tokens(recipe: Load) -> None:
    plan = resolve(recipe("family: tiny\nstart: hot\ndata: {domain: [text.jsonl, pairs.jsonl], share: 40%}\n"))
    settled = settle(plan, {"text": 3000, "pairs": 1000, "web": 10**6, "code": 10**6})
    (segment,) = segments(settled)
    assert dict(segment.share) == pytest.approx({"text": 0.3, "pairs": 0.1, "web": 0.45, "code": 0.15})


def test_categories_adjust_the_familys_mix(recipe: Load) -> None:
    plan = resolve(recipe(TEXT + "start: hot\n", "data.curated={code: 100%}"))
    (segment,) = segments(plan)
    assert dict(segment.share) == pytest.approx({"text": 0.5, "code": 0.5})
    with pytest.raises(InputError, match=r"no category `cod` \(did you mean `code`\?\)"):
        resolve(recipe(TEXT + "start: hot\n", "data.curated={cod: 100%}"))


def test_phases_become_segments_at_their_steps(recipe: Load) -> None:
    phases = "phases: [{name: a, length: 75%, share: 20%}, {name: b, length: 25%, share: 80%, curated: {web: 100%}}]\n"
    plan = resolve(recipe(TEXT + "start: hot\n" + phases))
    first, second = segments(plan)
    assert (first.start, second.start) == (0, round(0.75 * plan.get("budget.steps")))
    assert (first.share["text"], second.share["text"]) == pytest.approx((0.2, 0.8))
    assert dict(second.share) == pytest.approx({"text": 0.8, "web": 0.2})


def test_epochs_are_passes_over_the_domain_with_replay_on_top(recipe: Load) -> None:
    plan = resolve(recipe("family: tiny\nstart: hot\ndata: {domain: text.jsonl, share: 25%}\nbudget: 2 epochs\n"))
    assert settle(plan, {"text": 10_000}).get("budget.tokens") == 80_000


def test_a_budget_in_steps_keeps_the_checkpoints_batch(recipe: Load) -> None:
    plan = resolve(
        recipe("family: tiny\nstart: hot\ndata: {domain: text.jsonl}\nbudget: 10 steps\noptim: {batch: 512}\n")
    )
    assert (plan.get("budget.steps"), plan.get("budget.tokens")) == (10, 5120)


def test_the_domain_only_arm_sees_as_many_domain_tokens_as_the_blend(recipe: Load) -> None:
    arms = "arms: [domain-only, domain-only-equal-total, curated-only]\n"
    plan = resolve(recipe(TEXT + "start: hot\n" + arms, "data.share=40%"))
    blend, domain, total, curated = plan.arms
    assert (blend.name, blend.tokens) == ("blend", 1_000_000)
    assert (domain.tokens, total.tokens, curated.tokens) == (400_000, 1_000_000, 1_000_000)
    assert curated.steps == blend.steps
    assert set(segments(plan, "curated-only")[0].share) == {"web", "code"}
    assert train_config(plan, "domain-only").schedule.steps == domain.steps


def test_settling_again_with_the_same_counts_changes_nothing(recipe: Load) -> None:
    counts = {"text": 5000, "web": 10**6, "code": 10**6}
    once = settle(resolve(recipe("family: tiny\nstart: hot\ndata: {domain: text.jsonl}\n")), counts)
    twice = settle(settle(once, {"text": 999, "web": 1, "code": 1}), counts)
    assert twice.to_json() == once.to_json()


def test_a_plan_survives_its_file_and_a_changed_file_is_refused(recipe: Load, here: Path) -> None:
    plan = resolve(recipe(TEXT + "arms: [domain-only]\n"))
    plan.write(here / "plan.json")
    assert Plan.read(here / "plan.json") == plan
    assert (here / "plan.json").stat().st_mode & 0o777 == 0o600
    (here / "plan.json").write_text(json.dumps({"version": 99, "values": {}}))
    with pytest.raises(InputError, match="plan of version 99"):
        Plan.read(here / "plan.json")


def test_every_value_says_who_decided_it(recipe: Load) -> None:
    plan = resolve(recipe(TEXT))
    assert {value.origin for _, value in plan} == {"user", "family", "stage default", "derived"}
    with pytest.raises(KeyError, match=r"did you mean `schedule.lr`\?"):
        plan.get("schedule.rl")


def test_a_model_without_a_family_trains_on_the_domain_alone(recipe: Load) -> None:
    plan = resolve(recipe("model: families/weights\ndata: {domain: text.jsonl}\n"))
    assert plan.get("data.share") == 1.0
    assert plan.get("start.plasticity") == "cold"
    assert plan.get("context") == 128
    assert [source.name for source in plan.sources] == ["text"]
    blended = resolve(
        recipe("model: families/weights\ndata: {domain: text.jsonl, curated: [pairs.jsonl], share: 30%}\n")
    )
    assert blended.get("curated.mix") == "own"
    assert dict(segments(blended)[0].share) == pytest.approx({"text": 0.3, "pairs": 0.7})


def test_a_revision_beside_a_folder_is_refused(recipe: Load) -> None:
    loaded = recipe("model: families/weights\nrevision: v9\ndata: {domain: text.jsonl}\n")
    with pytest.raises(InputError, match="`model: families/weights` is a folder here") as caught:
        resolve(loaded)
    assert str(caught.value.where).endswith("recipe.yaml:1")
    assert "remove `revision`" in str(caught.value.fix)


def test_a_run_continues_from_a_run_at_the_rate_that_it_ended_at(recipe: Load, here: Path) -> None:
    before = resolve(recipe(TEXT + "start: hot\n", "schedule.kind=constant"))
    folder = here / "runs" / "first"
    (folder / "model").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("family: tiny\n")
    before.write(folder / "plan.json")
    after = resolve(recipe(TEXT + "start: first\n"))
    assert (after.get("start.kind"), after.get("start.plasticity")) == ("run", "hot")
    assert after.get("schedule.lr") == before.get("schedule.lr")
    before.updated({"schedule.kind": Value("linear", "user")}).write(folder / "plan.json")
    assert resolve(recipe(TEXT + "start: first\n")).get("start.plasticity") == "cold"


def test_two_sources_of_one_name_are_refused_across_roles_and_numbered_inside_one(recipe: Load, here: Path) -> None:
    with pytest.raises(InputError, match="both called `web`"):
        resolve(recipe("family: tiny\nstart: hot\ndata: {domain: [{path: text.jsonl, name: web}]}\n"))
    plan = resolve(recipe("family: tiny\nstart: hot\ndata: {domain: [text.jsonl, text.jsonl]}\n"))
    assert list(source_specs(plan)) == ["text", "text#2", "web", "code"]


def test_what_the_loop_is_told_follows_the_plan(recipe: Load) -> None:
    config = train_config(resolve(recipe(TEXT + "start: hot\nseed: 3\n")))
    assert config.schedule.lr == 1e-3
    assert config.schedule.steps == 245  # 1M tokens in batches of 4,096
    assert config.seed == 3
    assert config.optim.betas == (0.9, 0.95)
