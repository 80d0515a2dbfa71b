"""Prompts and scoring rules are those stored in tests/prompts/, version by version."""

from __future__ import annotations

import copy

import pytest
from prompt_snapshots import PUBLISHED, problem, read, samples, snapshot, update

from hawk.benchmarks import benchmark
from hawk.benchmarks.rules.protocols import ALL
from hawk.core.errors import InputError


@pytest.mark.parametrize("name", PUBLISHED)
def test_prompts_and_rules_stand(name):
    message = problem(name, snapshot(name), read(name))
    assert message is None, message


def test_a_changed_prompt_needs_a_new_version(tmp_path, monkeypatch):
    from hawk.benchmarks.gqa import GQA

    stored = snapshot("gqa")
    assert update("gqa", stored, tmp_path)
    monkeypatch.setattr(GQA, "prompt", lambda self, sample, protocol="vlmevalkit": "Short, please.")
    changed = snapshot("gqa")
    assert "prompts changed, but its version is still 1" in problem("gqa", changed, stored)
    assert not update("gqa", changed, tmp_path)
    assert read("gqa", tmp_path) == stored
    monkeypatch.setattr(GQA, "version", 2)
    changed = snapshot("gqa")
    assert "has no snapshot" in problem("gqa", changed, stored)
    assert update("gqa", changed, tmp_path)
    assert problem("gqa", changed, read("gqa", tmp_path)) is None


def test_a_changed_rule_needs_a_new_version(monkeypatch):
    stored = snapshot("textvqa")
    monkeypatch.setattr("hawk.benchmarks.rules.normalise._ARTICLES", {"a", "an"})
    message = problem("textvqa", snapshot("textvqa"), stored)
    assert "rules changed" in message
    assert "lmms-eval rules" in message


def test_a_changed_room_for_the_answer_needs_a_new_version(monkeypatch):
    stored = snapshot("mme")
    changed = copy.deepcopy(stored)
    changed["protocols"]["lmms-eval"]["max_new_tokens"] = 64
    assert "lmms-eval max_new_tokens changed" in problem("mme", changed, stored)


def test_protocols_differ_where_the_harnesses_do():
    for name in ("mme", "textvqa", "chartqa", "mmstar", "videomme"):
        prompts = {protocol: benchmark(name).prompt(samples(name)[0], protocol) for protocol in ALL}
        assert prompts["vlmevalkit"] == prompts["ms-vlmeval-0.0.18"] != prompts["lmms-eval"]
    (sample,) = samples("chartqa")[1:]
    scores = {protocol: benchmark("chartqa").score("95", sample, protocol) for protocol in ALL}
    assert scores == {"vlmevalkit": 1.0, "ms-vlmeval-0.0.18": 0.0, "lmms-eval": 1.0}


@pytest.mark.parametrize(
    ("name", "protocol", "reason"),
    [
        ("hallusionbench", "lmms-eval", "GPT judge"),
        ("ccbench", "lmms-eval", "GPT judge"),
        ("longvideobench", "lmms-eval", "subtitles"),
        ("mme", "vlmeval", "Did you mean 'vlmevalkit'"),
    ],
)
def test_what_a_protocol_cannot_do_is_refused(name, protocol, reason):
    bench, (sample, *_) = benchmark(name), samples(name)
    for call in (
        lambda: bench.prompt(sample, protocol),
        lambda: bench.parse("yes", sample, protocol),
        lambda: bench.max_new_tokens(protocol),
    ):
        with pytest.raises(InputError, match=reason):
            call()
