"""The other ways of computing what ``tests/pruning/test_oracles.py`` compares with."""

from __future__ import annotations

from typing import Any

import torch
from tiny_prompts import Image, Video
from tiny_random import END, IMAGE, MODELS, NEWLINE, USER, VIDEO, VISION_END, VISION_START
from torch import Tensor

from hawk.models import family_of
from hawk.pruning.prompt import prune

FAMILIES = sorted(MODELS)
NEW = 12  # new tokens; decode positions are compared up to here
CASES: dict[str, list[list[Any]]] = {
    "one": [[Image(2, 3), 20, 21, 22]],
    "several": [[20, Image(2, 2), 23, Image(1, 3), 21]],
    "textfirst": [[20, 21, 22, Image(2, 3)]],
    "video": [[Video(3, 2, 2), 20, 21]],
    "mixed": [
        [Image(2, 3), 20, 21],
        [24, 25, 26, 27],
        [20, Image(1, 2), 23, Image(2, 2), 21, 30],
        [Video(2, 2, 2), 31],
    ],
}


@torch.no_grad()
def generate(model: torch.nn.Module, **inputs: Any) -> Any:
    """Greedy, always NEW tokens, with the logits of every step.

    Random models would say placeholders too, which transformers then looks for in the prompt.
    """
    settings = {
        "max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False,
        "output_logits": True, "output_scores": True, "return_dict_in_generate": True,
        "suppress_tokens": [IMAGE, VIDEO],
    }  # fmt: skip
    return model.generate(**{**settings, **inputs})


def pruned(model: torch.nn.Module, pruner: Any, inputs: dict[str, Tensor], **options: Any) -> Any:
    with pruner.attach(model):
        return generate(model, **inputs, **options)


def contexts_of(pruner: Any, model: torch.nn.Module, inputs: dict[str, Any], **options: Any) -> list[Any]:
    """What a pruner is given of a batch: a context for every row with images."""
    found = []

    class Watching(type(pruner)):
        def kept_indices(self, context):
            found.append(context)
            return super().kept_indices(context)

    watching = object.__new__(Watching)
    watching.__dict__.update(pruner.__dict__)
    prune(watching, model, family_of(model), inputs, **options)
    return found


def stacked(out: Any) -> Tensor:
    """Logits of all steps, [steps, batch, vocabulary]."""
    return torch.stack(out.logits)


def positions(model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Positions of the unpruned prompt, from the model's own inputs."""
    text = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    if not hasattr(model.model, "get_rope_index"):
        return text
    types = torch.zeros_like(inputs["input_ids"])
    given = {k: v for k, v in inputs.items() if "grid" in k}
    rows, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs.get("mm_token_type_ids", types),
        attention_mask=inputs["attention_mask"],
        **given,
    )
    return torch.cat([text[None], rows])


def visual(inputs: dict[str, Tensor]) -> Tensor:
    return (inputs["input_ids"] == IMAGE) | (inputs["input_ids"] == VIDEO)


def masked(model: torch.nn.Module, inputs: dict[str, Tensor], kept: list[Tensor], **options: Any) -> Any:
    """The unpruned prompt, removed tokens out of attention; unknown to the code under test."""
    mask = inputs["attention_mask"].clone()
    for row, index in enumerate(kept):
        where = visual(inputs)[row].nonzero().flatten()
        mask[row, where] = 0
        mask[row, where[index]] = 1
    inputs = {**inputs, "attention_mask": mask, "position_ids": positions(model, inputs)}
    return generate(model, **inputs, **options)


def swapped(kept: list[Tensor], tokens: list[int]) -> list[Tensor]:
    """As many tokens of every row, none of them kept where that is possible."""
    out = []
    for index, count in zip(kept, tokens, strict=True):
        others = [i for i in range(count) if i not in set(index.tolist())]
        out.append(torch.tensor((others + index.tolist())[: len(index)], dtype=torch.long))
    return out


@torch.no_grad()
def full_matrix_scores(
    model: torch.nn.Module, inputs: dict[str, Tensor], heads: int, kv_heads: int, layer: int = 0
) -> Tensor:
    """Every text x vision product of a layer, averaged over text, [heads, n]; one unpadded row.

    Queries and keys are caught in a run of the model itself, before rotation.
    """
    attention = family_of(model).layers(model)[layer].self_attn
    caught = {}

    def catch(name):
        return lambda module, args, out: caught.setdefault(name, out)

    names = {
        "q": getattr(attention, "q_norm", None) or attention.q_proj,
        "k": getattr(attention, "k_norm", None) or attention.k_proj,
    }
    handles = [module.register_forward_hook(catch(name)) for name, module in names.items()]
    model(**inputs)
    for handle in handles:
        handle.remove()
    ids = inputs["input_ids"][0]
    queries, keys = (
        caught[name][0].reshape(len(ids), count, -1) for name, count in (("q", heads), ("k", kv_heads))
    )
    keys = keys.repeat_interleave(heads // kv_heads, dim=1)
    begin = int((ids == USER).nonzero()[0]) + 2  # after "<start>user\n"
    end = int((ids == END).nonzero()[0])
    # Between the tiles of one image stand their places and line breaks (tiny_prompts).
    outside = {IMAGE, VIDEO, VISION_START, VISION_END, NEWLINE, *range(60, 78)}
    query = [i for i in range(begin, end) if int(ids[i]) not in outside]
    matrix = torch.einsum("qhd,nhd->hqn", queries[query], keys[visual(inputs)[0]])
    return matrix.mean(1) / queries.shape[-1] ** 0.5
