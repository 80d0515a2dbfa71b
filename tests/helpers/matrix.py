"""Every pruner, as tests use it. Adding a pruner is one line here."""

from __future__ import annotations

from typing import Any

# name in tests → (method, options)
PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "hawk": ("hawk", {}),
    "hawk-attention": ("hawk", {"text_reduction": "attention"}),
    "hawk-rope": ("hawk", {"rope": True}),
    "fastv": ("fastv", {"layer": 1}),
    "fastv-2": ("fastv", {}),
    "divprune": ("divprune", {}),
    "cdpruner": ("cdpruner", {}),
    "cdpruner-minus": ("cdpruner", {"relevance_sign": -1}),
    "mmtok": ("mmtok", {}),
    "visionzip": ("visionzip", {}),
    "dart": ("dart", {"image_pivots": 3, "text_pivots": 2}),
    "evs": ("evs", {}),
    "facility": ("facility_location", {}),
    "facility-hawk": ("facility_location", {"scorer": {"method": "hawk"}}),
    "dpp-hawk": ("dpp", {"scorer": {"method": "hawk"}}),
    "discount-hawk": ("discount", {"scorer": {"method": "hawk"}}),
    "mmr-hawk": ("mmr", {"scorer": {"method": "hawk"}, "trade_off": 0.5}),
    "random": ("random", {}),
    "keep-first": ("keep_first", {}),
    "grid": ("grid", {}),
}
