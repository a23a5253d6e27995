"""What is trained is what was sampled: same ids, and at unchanged weights the same log-probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from architectures import BASE, PACKED
from rl_stage import RlStage, play
from sessions import STRIPPING
from tokens import MARKED, tokenizer_folder

from bloomery.engine.native import NativeEngine
from bloomery.engine.service import NativeService
from bloomery.evals.prompts import Prompter
from bloomery.models.load import load_tokenizer, new_model
from bloomery.rl.turns import rows

ADD: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("template", ["marked", "stripping"])
def test_sampled_log_probabilities_are_those_of_the_trainer(tmp_path: Path, architecture: str, template: str) -> None:
    folder = tokenizer_folder(tmp_path / "t", {"marked": MARKED, "stripping": STRIPPING}[template])
    told = load_tokenizer(folder)
    shape = {**BASE, **PACKED[architecture], "vocab_size": len(told), "max_position_embeddings": 1024}
    loaded = new_model({**shape, "model_type": architecture}, seed=0)
    loaded.model.eval()

    async def story() -> None:
        service = NativeService(loaded)
        service.start()
        try:
            stage = RlStage(tmp_path / "j", service, prompting=Prompter(told, "auto"))
            claim = await stage.claim()
            client = stage.openai(claim.key)
            messages: list[Any] = [{"role": "user", "content": "What is 12 + 30?"}]
            for number in range(8):
                found = await client.chat.completions.create(model="x", messages=messages, max_tokens=9, tools=[ADD])
                messages += [found.choices[0].message.model_dump(), {"role": "user", "content": f"And {number}?"}]
                if number == 4:
                    messages[0] = {"role": "user", "content": "edited"}
                if number == 5:
                    messages = [{"role": "user", "content": "in short"}]
            tree = await stage.tree(claim)
        finally:
            service.stop()
        assert tree.counts["clean"] >= 5 and tree.counts["fork"] >= 2 and len(tree.turns) == 8
        found_rows = rows(tree, "r", source="rl", example_id="e", group_id="g")
        assert sum(np.count_nonzero(row.weight["pg"]) for row in found_rows) == tree.sampled_tokens
        for row, scored in zip(found_rows, NativeEngine(loaded).score(found_rows), strict=True):
            trained = row.weight["pg"] > 0
            assert row.logp_sampled is not None
            assert np.abs(scored - row.logp_sampled)[trained].max() < 1e-4

    play(story())
