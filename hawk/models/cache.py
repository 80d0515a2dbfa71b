"""The argument for a key-value cache: ``cache`` since transformers 5.24, ``past_key_values`` before."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from transformers.masking_utils import create_causal_mask

NAMES = ("cache", "past_key_values")  # the newer transformers still take the older name
NAME = next(name for name in NAMES if name in inspect.signature(create_causal_mask).parameters)


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among the arguments of a pass, or in what it returns, by whichever name; else None."""
    return next((arguments[name] for name in NAMES if arguments.get(name) is not None), None)
