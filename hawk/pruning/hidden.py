"""Hidden states of the unpruned prompts, computed when a pruner first asks for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from hawk.models.base import Family, by_modality
from hawk.models.partial import run_to
from hawk.models.projections import copies_of_a_row
from hawk.pruning.fetch import as_run, send
from hawk.pruning.rows import Rows


class HiddenStates:
    """Inputs of a decoder layer for the unpruned prompts, computed when a pruner first asks."""

    def __init__(self, model: nn.Module, family: Family, rows: Rows) -> None:
        self.model, self.family, self.rows = model, family, rows
        self.copies = copies_of_a_row(model, len(rows.ids))
        self._layers: dict[int, Tensor] = {}
        self._projected: dict[tuple[str, int], Tensor] = {}

    def row(self, row: int) -> Callable[[int], Tensor]:
        return lambda layer: self._of_row(self._hidden(layer), row)

    def projected(self, row: int) -> Callable[[str, int], Tensor]:
        """("queries" or "keys", layer) → the row's, [T, heads, head_dim], made as the model makes them.

        That is by calling norm and projection with the whole batch: adapters may differ from row to row.
        """

        def projected_at(what: str, layer: int) -> Tensor:
            if (what, layer) not in self._projected:
                scoring = self.family.scoring_layer(self.model, layer)
                normed = scoring.norm(self._copied(self._hidden(layer)))
                copies_projected: Tensor = getattr(scoring, what)(normed)[:: self.copies]
                self._projected[what, layer] = copies_projected.to(self.rows.device)
            return self._of_row(self._projected[what, layer], row)

        return projected_at

    def _of_row(self, values: Tensor, row: int) -> Tensor:
        """[batch, T, ...] → the row's without padding."""
        columns = self.rows.columns[row]
        if isinstance(columns, slice):
            return values[row, columns]
        return values[row].index_select(0, send(torch.from_numpy(columns), values.device))

    def _copied(self, rows: Tensor) -> Tensor:
        return rows if self.copies == 1 else rows.repeat_interleave(self.copies, 0)

    def _hidden(self, layer: int) -> Tensor:
        if layer not in self._layers:
            self._layers[layer] = self._embed() if layer == 0 else self._run(layer)
        return self._layers[layer]

    def _embed(self) -> Tensor:
        """Prompt embeddings with visual features in place, [batch, T, hidden]."""
        device = self.rows.device
        ids = self._copied(send(self.rows.ids, device))
        embeds = self.model.get_input_embeddings()(ids)[:: self.copies].to(device, copy=True)
        for into, columns, row in zip(embeds, self.rows.columns, self.rows.rows, strict=True):
            real = np.arange(embeds.shape[1])[columns]
            end = 0
            for item in row.items:
                begin, end = end, end + item.tokens
                where = as_run(real[row.visual[begin:end]])
                if isinstance(where, slice):
                    into[where] = item.features
                else:
                    index = send(torch.from_numpy(where), device)
                    into.index_copy_(0, index, item.features.to(embeds.dtype))
        return embeds

    def _run(self, layer: int) -> Tensor:
        """The batch through the model up to the input of ``layer``, [batch, T, hidden]."""
        features, levels = by_modality(
            item for items in self.rows.items for _ in range(self.copies) for item in items
        )
        device = self.rows.device
        positions = send(self.rows.positions, device).transpose(0, 1)
        positions = self._copied(positions).transpose(0, 1)
        args, _ = run_to(
            self.model,
            self.family.layers(self.model)[layer],
            input_ids=self._copied(send(self.rows.ids, device)),
            attention_mask=self._copied(send(self.rows.mask.long(), device)),
            position_ids=positions if len(positions) > 1 else positions[0],
            mm_encoder_outputs=self.family.encoder_outputs(features, levels),
            use_cache=False,
        )
        hidden: Tensor = args[0][:: self.copies]
        return hidden.to(device)  # a split model computes layers on several
