"""Hidden states of the unpruned prompts, computed when a pruner first asks for them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hawk.models.base import Family, by_modality
from hawk.models.partial import run_to
from hawk.pruning.rows import Rows


class HiddenStates:
    """Inputs of a decoder layer for the unpruned prompts, computed when a pruner first asks."""

    def __init__(self, model: nn.Module, family: Family, rows: Rows) -> None:
        self.model, self.family, self.rows = model, family, rows
        self._layers: dict[int, Tensor] = {}

    def row(self, row: int) -> Callable[[int], Tensor]:
        def hidden_at(layer: int) -> Tensor:
            if layer == 0:
                return self._embed(row)
            if layer not in self._layers:
                self._layers[layer] = self._run(layer)
            return self._layers[layer][row, self.rows.mask[row]]

        return hidden_at

    def _embed(self, row: int) -> Tensor:
        """Prompt embeddings with visual features in place, [T, hidden]."""
        real = self.rows.mask[row]
        ids = self.rows.ids[row, real]
        embeds = self.model.get_input_embeddings()(ids).to(ids.device, copy=True)
        item_of = self.rows.item_of[row, real]
        for i, item in enumerate(self.rows.items[row]):
            embeds[item_of == i] = item.features.to(embeds.dtype)
        return embeds

    def _run(self, layer: int) -> Tensor:
        """The batch through the model up to the input of ``layer``, [batch, T, hidden]."""
        features, levels = by_modality(item for items in self.rows.items for item in items)
        positions = self.rows.positions
        args, _ = run_to(
            self.model,
            self.family.layers(self.model)[layer],
            input_ids=self.rows.ids,
            attention_mask=self.rows.mask.long(),
            position_ids=positions if len(positions) > 1 else positions[0],
            mm_encoder_outputs=self.family.encoder_outputs(features, levels),
            use_cache=False,
        )
        hidden: Tensor = args[0]
        return hidden.to(self.rows.ids.device)  # a split model computes layers on several
