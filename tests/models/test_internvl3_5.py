"""InternVL3.5's ``-hf`` checkpoints are InternVL's class with Qwen3's language model, which has q/k norms."""

from __future__ import annotations

import torch
from oracles import CASES, masked, pruned, stacked, swapped
from tiny_prompts import build
from tiny_random import internvl3_5

from hawk.models import family_of
from hawk.pruning.methods.random import Random


def test_pruned_is_masked_with_qwen3() -> None:
    model, inputs = internvl3_5(), build("internvl", CASES["mixed"])
    family = family_of(model)
    assert family.geometry(model).head_dim == 24
    assert family.scoring_layer(model, 0).q_norm is not None
    pruner = Random(pruning_ratio=0.6)
    out = pruned(model, pruner, inputs)
    kept, visual = pruner.last.kept_index, pruner.last.visual_tokens
    expected = masked(model, inputs, kept)
    torch.testing.assert_close(stacked(out), stacked(expected), rtol=0, atol=1e-5)
    assert torch.equal(out.sequences, expected.sequences)
    other = masked(model, inputs, swapped(kept, visual))  # the control
    rows = torch.tensor(visual) > 0
    assert ((out.logits[0] - other.logits[0]).abs().amax(-1)[rows] > 0.1).all()
