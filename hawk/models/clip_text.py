"""CLIP's text tower beside a model whose vision tower is that CLIP's: how well a patch fits a text.

LLaVA took CLIP's vision tower and left its text tower and both projections behind. A CLIP checkpoint that
holds them (``openai/clip-vit-large-patch14-336`` for LLaVA-1.5) gives them back: a patch and a text are
then vectors of one space (Radford et al. 2021, section 2.3).
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize
from transformers import AutoConfig, AutoTokenizer, CLIPModel

from hawk.core.errors import InputError
from hawk.core.shipped import check_model_folder
from hawk.models.loading import read, read_weights

OPTION = "clip"  # of CDPruner, as messages call it
MODEL_TYPE = "clip"
LEAST_COSINE = 0.9  # of the patch filters: a tower that was trained on keeps them, another one has others


@dataclass
class ClipText:
    """CLIP without its vision tower, in float32 on one device."""

    tokenizer: Any
    clip: nn.Module  # a CLIPModel

    def patches(self, tower: nn.Module, hidden: Tensor) -> Tensor:
        """Unit vectors in the shared space: hidden states of the tower [.., width] → [.., shared]."""
        projection = self.clip.visual_projection
        normed = tower.post_layernorm(hidden).float().to(projection.weight.device)
        return normalize(projection(normed), dim=-1)

    def words(self, text: str) -> Tensor:
        """Unit vectors of a text, one for every piece as long as the tower reads, [pieces, shared].

        The last piece is filled with zeros that no token attends to.
        """
        ids = torch.tensor(self.tokenizer(text)["input_ids"])
        length = self.clip.config.text_config.max_position_embeddings
        pieces = -(-len(ids) // length)
        rows = ids.new_zeros(2, pieces * length)
        rows[0, : len(ids)], rows[1, : len(ids)] = ids, 1
        ids, mask = rows.view(2, pieces, length).to(self.clip.text_projection.weight.device)
        with torch.no_grad():
            read = self.clip.text_model(input_ids=ids, attention_mask=mask)
            return normalize(self.clip.text_projection(read.pooler_output), dim=-1)


# Weak: what was read for a model goes with it.
_READ: weakref.WeakKeyDictionary[nn.Module, dict[str, ClipText]] = weakref.WeakKeyDictionary()


def clip_text(model: nn.Module, tower: nn.Module, path: str) -> ClipText:
    """The CLIP checkpoint ``path``, read once per model.

    tower: the model's vision tower; where it has parameters, it must be that CLIP's, trained on or not.
    Raises InputError for what is no CLIP checkpoint, or one of another tower.
    """
    known = _READ.setdefault(model, {})
    if path not in known:
        known[path] = _read(tower, path)
    return known[path]


def _read(tower: nn.Module, path: str) -> ClipText:
    check_model_folder(path, OPTION)
    config = read(AutoConfig, path, "config", option=OPTION)
    if config.model_type != MODEL_TYPE:
        raise InputError(
            f"{OPTION} {path!r} is a {config.model_type!r} model; a CLIP with both towers is allowed."
        )
    clip = read_weights(CLIPModel, path, option=OPTION, dtype=torch.float32).eval().requires_grad_(False)
    device = torch.device("cpu")
    if any(True for _ in tower.parameters()):  # else dropped: features are stored
        device = next(tower.parameters()).device
        _check_tower(tower, clip.vision_model, f"{OPTION} {path!r}")
    clip.vision_model = nn.Identity()  # the model has its own
    return ClipText(read(AutoTokenizer, path, "tokenizer", option=OPTION), clip.to(device))


def _check_tower(tower: nn.Module, own: nn.Module, what: str) -> None:
    """Refuse a CLIP whose own vision tower is not the model's: its relevance would be noise."""
    for key in ("hidden_size", "image_size", "patch_size"):
        here, there = getattr(tower.config, key, None), getattr(own.config, key)
        if here != there:
            raise InputError(
                f"{what}: its vision tower has {key} {there}, the model's has {here}; it must be the CLIP "
                "that the model's vision tower was taken from."
            )
    filters = [t.embeddings.patch_embedding.weight.detach().float().cpu().flatten() for t in (tower, own)]
    cosine = float(cosine_similarity(*filters, dim=0))
    if not cosine >= LEAST_COSINE:
        raise InputError(
            f"{what}: its patch filters have a cosine of {cosine:.2f} with those of the model's vision "
            f"tower, at least {LEAST_COSINE} is allowed; it must be the CLIP that the tower was taken from."
        )
