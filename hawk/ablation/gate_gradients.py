"""What switching off each head would do to a margin, estimated for all heads at once.

Put a gate g on the slice that a head writes into the input of ``o_proj``: the slice becomes g · slice. At
g = 1 nothing changes, at g = 0 the head is off, as under the intervention ``zero``. To first order in the
gate a sample's margin m then drops by

    m(1) - m(0) ≈ dm/dg at g = 1, times 1

(a Taylor expansion, as in Michel et al., arXiv 1905.10650, with its sign, and of the margin). It is exact
where the margin is linear in the gate, and says nothing of heads that stand in for each other. A gate per row
of the batch makes the gradient of the batch's summed margin a gradient per sample, so one pass forward and
one backward give samples × layers × heads numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hawk.ablation.ablate_heads import slice_width
from hawk.core.progress import progress
from hawk.inference.margins import FirstTokens, margins
from hawk.inference.prompts import Prompts
from hawk.inference.scoring import batches
from hawk.models import family_of
from hawk.models.hooks import own_hooks
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import prune

# Rows per backward pass: what a forward pass keeps for it grows with them, and they do not affect each other.
ROWS = 4


@contextmanager
def head_gates(model: nn.Module, layers: Sequence[int], rows: int) -> Iterator[dict[int, Tensor]]:
    """Gates of 1 on every head of these layers: layer → ``[rows, heads]``, float32 with a gradient.

    Inside, gradients are recorded for the gates and for nothing else; the model is as before after it.
    """
    family = family_of(model)
    heads = family.geometry(model).heads
    gates: dict[int, Tensor] = {}

    def hook_for(gate: Tensor, width: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            inputs = args[0]
            spread = gate.to(inputs.device).repeat_interleave(width, dim=-1)[:, None]
            return ((inputs * spread).to(inputs.dtype), *args[1:]), kwargs

        return hook

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with torch.enable_grad(), own_hooks() as hooks:
            for layer in layers:
                projection = family.output_projection(model, layer)
                gates[layer] = torch.ones(rows, heads, device=projection.weight.device, requires_grad=True)
                hooks.before(projection, hook_for(gates[layer], slice_width(projection, heads)))
            yield gates
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def gate_gradients(
    model: nn.Module, inputs: Mapping[str, Any], tokens: Sequence[FirstTokens], layers: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Margin of every row ``[rows]`` of a batch, and its gradients by the gates ``[rows, layers, heads]``.

    inputs: an unpruned batch as ``generate`` takes it. Both are in nats, and nan where a row has no margin.
    """
    prompt = prune(Unpruned(), model, family_of(model), inputs)
    with head_gates(model, layers, len(tokens)) as gates:
        logits = model(**prompt.kwargs(), use_cache=False, logits_to_keep=1).logits[:, -1]
        row_margins = margins(logits, tokens)
        has_margin = row_margins.isfinite()
        layer_gates = [gates[layer] for layer in layers]
        slopes = (
            torch.autograd.grad(row_margins[has_margin].sum(), layer_gates)
            if has_margin.any()
            else layer_gates
        )
    stacked = torch.stack([slope.detach().cpu() for slope in slopes], dim=1)
    stacked[~has_margin.cpu()] = torch.nan
    return row_margins.detach().cpu(), stacked


def screened(
    prompts: Prompts, batch_size: int, layers: Sequence[int], what: str = "screen"
) -> tuple[Tensor, Tensor]:
    """:func:`gate_gradients` of all samples, in their order."""
    model, heads = prompts.vlm.model, prompts.vlm.geometry.heads
    sample_margins = torch.full((len(prompts.samples),), torch.nan)
    slopes = torch.full((len(sample_margins), len(layers), heads), torch.nan)
    for chosen in progress(batches([*map(len, prompts.ids)], min(batch_size, ROWS)), what):
        tokens = [prompts.first_tokens[i] for i in chosen]
        sample_margins[chosen], slopes[chosen] = gate_gradients(model, prompts.inputs(chosen), tokens, layers)
    return sample_margins, slopes
