"""The key-value cache is found under the name that the installed transformers gives it, and the other."""

from __future__ import annotations

import inspect

import pytest
from tiny_random import MODELS

from hawk.models.cache import NAME, NAMES, given_cache


@pytest.mark.parametrize("family", MODELS)
def test_the_name_is_that_of_every_model(family: str) -> None:
    assert NAME in inspect.signature(MODELS[family]().forward).parameters


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_is_found_by_either_name(name: str) -> None:
    cache = object()
    assert given_cache({"use_cache": True, name: cache}) is cache
    assert given_cache({"use_cache": True, name: None}) is None
