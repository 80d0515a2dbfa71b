"""Each algorithm against a slow, literal reading of its published equations: loops, in float64.

Inputs are random, and degenerate: duplicated tokens, all tokens equal, features of low rank, a text
that says nothing. Degenerate features have entries ±1/2 in four places, whose products are exact,
so that ties are ties in any arithmetic and the rule for them (the lower position) is tested too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hawk.models.base import ScoringLayer, VisualItem
from hawk.pruning.base import Pruner
from hawk.pruning.methods.cdpruner import CDPruner
from hawk.pruning.methods.dart import Dart
from hawk.pruning.methods.discount import Discount
from hawk.pruning.methods.divprune import DivPrune
from hawk.pruning.methods.dpp import Dpp
from hawk.pruning.methods.evs import Evs
from hawk.pruning.methods.facility_location import FacilityLocation
from hawk.pruning.methods.mmr import Mmr
from hawk.pruning.methods.mmtok import MMTok

SIGNS = np.array(list(product((-0.5, 0.5), repeat=4)))  # 16 exact unit vectors
TOKENS = 40


def features(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.normal(size=(TOKENS, 24))
    if kind == "wide":  # fewer tokens than dimensions: a matrix of cosines is kept whole
        return rng.normal(size=(5, 64))[rng.integers(5, size=TOKENS)] + 0.3 * rng.normal(size=(TOKENS, 64))
    if kind == "clustered":
        return rng.normal(size=(5, 24))[rng.integers(5, size=TOKENS)] + 0.05 * rng.normal(size=(TOKENS, 24))
    if kind == "low rank":
        return rng.normal(size=(TOKENS, 6))
    if kind == "duplicates":
        return SIGNS[rng.integers(16, size=TOKENS)]
    assert kind == "equal"
    return np.tile(SIGNS[3], (TOKENS, 1))


KINDS = ("random", "wide", "clustered", "low rank", "duplicates", "equal")


def every_time(what: str, owner: object, compute: Callable[[], object]) -> object:
    """Instead of ``PruningContext.once``: nothing is remembered here."""
    return compute()


def context(visual: np.ndarray, text: np.ndarray | None = None, **more: object) -> SimpleNamespace:
    """What a pruner reads of a PruningContext, from arrays."""
    words = torch.tensor(text if text is not None else visual[:1], dtype=torch.float32)
    return SimpleNamespace(
        features=torch.tensor(visual, dtype=torch.float32),
        tokens=len(visual),
        visual_index=torch.arange(len(visual)),
        device=torch.device("cpu"),
        query_embeddings=lambda span: words,
        once=every_time,
        **more,
    )


def chosen(pruner: Pruner, given: SimpleNamespace, count: int) -> list[int]:
    picked = pruner.select(given, torch.arange(given.tokens), count)
    assert len(set(picked.tolist())) == count
    return sorted(picked.tolist())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def first_best(values: dict[int, float]) -> int:
    """The highest value; of values equal up to rounding, the lowest position."""
    top = max(values.values())
    return min(i for i, value in values.items() if value > top - 1e-9)


# --- literal implementations ---------------------------------------------------------------
def divprune(v: np.ndarray, count: int) -> list[int]:
    n = len(v)
    d = [[1 - cosine(v[i], v[j]) for j in range(n)] for i in range(n)]
    s = [first_best({j: min(d[j][k] for k in range(n) if k != j) for j in range(n)})]
    while len(s) < count:
        s.append(first_best({j: min(d[j][k] for k in s) for j in range(n) if j not in s}))
    return sorted(s)


def min_max(values: list[float], floor: float = 0.0) -> np.ndarray:
    low, high = min(values), max(values)
    if high - low < 1e-12:
        return np.ones(len(values))
    return np.array([(x - low + floor) / (high - low) for x in values])


def cdpruner(v: np.ndarray, text: np.ndarray, count: int, sign: int) -> list[int]:
    r = min_max([sign * cosine(x, text.mean(0)) for x in v], 1e-6)
    return determinantal(v, r, count)


def determinantal(v: np.ndarray, r: np.ndarray, count: int) -> list[int]:
    """The determinant of every extension, computed as a determinant."""
    n = len(v)
    kernel = np.array([[r[i] * cosine(v[i], v[j]) * r[j] for j in range(n)] for i in range(n)])
    s: list[int] = []
    while len(s) < count:
        free = [j for j in range(n) if j not in s]
        # log-determinants, as products of many relevances would underflow
        base = np.linalg.slogdet(kernel[np.ix_(s, s)])[1] if s else 0.0
        gain = {}
        for j in free:
            sign_of, size = np.linalg.slogdet(kernel[np.ix_([*s, j], [*s, j])])
            residual = sign_of * np.exp(size - base)
            if residual > 1e-5 * kernel[j, j]:
                gain[j] = residual
        if not gain:  # the kernel's rank is used up: relevance fills the rest
            return sorted(s + sorted(free, key=lambda j: (-round(r[j], 6), j))[: count - len(s)])
        s.append(first_best(gain))
    return sorted(s)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def greedy(value, n: int, count: int) -> list[int]:
    """argmax of f(S + j), recomputed from scratch every time."""
    s: list[int] = []
    while len(s) < count:
        s.append(first_best({j: value([*s, j]) for j in range(n) if j not in s}))
    return sorted(s)


def mmtok(v: np.ndarray, text: np.ndarray, count: int, t1=0.02, t2=0.2, alpha=0.5) -> list[int]:
    n, m = len(v), len(text)
    a = [softmax(np.array([cosine(t, x) / t1 for x in v])) / m for t in text]
    b = [softmax(np.array([cosine(y, x) / t2 for x in v])) / n for y in v]

    def value(s: list[int]) -> float:
        return sum(max(row[s]) for row in a) + alpha * sum(max(row[s]) for row in b)

    return greedy(value, n, count)


def facility(v: np.ndarray, r: np.ndarray, count: int) -> list[int]:
    s_ij = np.array([[(1 + cosine(x, y)) / 2 for y in v] for x in v])
    return greedy(lambda s: sum(r[i] * max(s_ij[i][s]) for i in range(len(v))), len(v), count)


def mmr(v: np.ndarray, r: np.ndarray, count: int, trade_off: float) -> list[int]:
    s: list[int] = []
    while len(s) < count:
        value = {}
        for i in range(len(v)):
            if i not in s:
                close = max((cosine(v[i], v[k]) for k in s), default=0.0)
                value[i] = trade_off * r[i] - (1 - trade_off) * close
        s.append(first_best(value))
    return sorted(s)


def discount(v: np.ndarray, r: np.ndarray, count: int, strength: float) -> list[int]:
    """The score of every token from its product over all tokens chosen so far."""
    s: list[int] = []
    while len(s) < count:
        left = {}
        for i in range(len(v)):
            if i not in s:
                distances = [min(1.0, max(1e-3, 1 - cosine(v[i], v[k]))) for k in s]
                left[i] = float(np.log(r[i]) + strength * np.sum(np.log(distances)))
        s.append(first_best(left))
    return sorted(s)


def dart(v, text, keys_v, keys_t, count, image_pivots, text_pivots) -> list[int]:
    def largest(keys: np.ndarray, k: int) -> list[int]:
        return sorted(range(len(keys)), key=lambda i: (-np.abs(keys[i]).sum(), i))[:k]

    own = largest(keys_v, min(image_pivots, count))
    pivots = [v[i] for i in own] + [text[i] for i in largest(keys_t, text_pivots)]
    s = list(own)
    share, left = divmod(count - len(own), len(pivots))
    for number, p in enumerate(pivots):
        free = [j for j in range(len(v)) if j not in s]
        free.sort(key=lambda j: (round(cosine(p, v[j]), 9), j))
        s += free[: share + (number < left)]
    return sorted(s)


# --- comparisons --------------------------------------------------------------------------
COUNTS = (1, 3, 11, 25)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_divprune(kind, count):
    v = features(kind)
    assert chosen(DivPrune(), context(v), count) == divprune(v, count)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_cdpruner(kind, count, sign):
    v = features(kind)
    text = features(kind, seed=1)[:3]
    pruner = CDPruner(relevance_sign=sign)
    assert chosen(pruner, context(v, text), count) == cdpruner(v, text, count, sign)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_mmtok(kind, count):
    v = features(kind)
    text = features(kind, seed=1)[:4]
    assert chosen(MMTok(), context(v, text), count) == mmtok(v, text, count)


class Given(Pruner):
    """Scores from a list, as the scorer of a combination."""

    def scores(self, given: SimpleNamespace) -> Tensor:
        return given.given


@pytest.mark.parametrize("trade_off", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_mmr(kind, count, trade_off):
    v = features(kind)
    scores = np.random.default_rng(3).permutation(TOKENS) / 8.0
    given = context(v, given=torch.tensor(scores))
    expected = mmr(v, min_max(list(scores)), count, trade_off)
    assert chosen(Mmr(scorer=Given(), trade_off=trade_off), given, count) == expected


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_dpp(kind, count, power):
    v = features(kind)
    scores = np.random.default_rng(3).permutation(TOKENS) / 8.0
    given = context(v, given=torch.tensor(scores))
    expected = determinantal(v, min_max(list(scores), 1e-6) ** power, count)
    assert chosen(Dpp(scorer=Given(), power=power), given, count) == expected


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_discount(kind, count, strength):
    v = features(kind)
    scores = np.random.default_rng(3).permutation(TOKENS) / 8.0
    given = context(v, given=torch.tensor(scores))
    expected = discount(v, min_max(list(scores), 1e-6), count, strength)
    assert chosen(Discount(scorer=Given(), strength=strength), given, count) == expected


@pytest.mark.parametrize("pruner", [Dpp(scorer=Given()), Discount(scorer=Given())], ids=["dpp", "discount"])
def test_score_and_diversity_both_count(pruner):
    """Neither the scorer alone nor the choice without its scores."""
    v = features("clustered")
    scores = np.random.default_rng(3).permutation(TOKENS) / 8.0
    mixed = chosen(pruner, context(v, given=torch.tensor(scores)), 8)
    assert mixed != sorted(np.argsort(-scores, kind="stable")[:8].tolist())
    assert mixed != chosen(pruner, context(v, given=torch.ones(TOKENS)), 8)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_facility_location(kind, count):
    v = features(kind)
    assert chosen(FacilityLocation(), context(v), count) == facility(v, np.ones(TOKENS), count)
    scores = np.random.default_rng(3).permutation(TOKENS) / 8.0
    given = context(v, given=torch.tensor(scores))
    expected = facility(v, min_max(list(scores)), count)
    assert chosen(FacilityLocation(scorer=Given()), given, count) == expected


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_dart(kind, count):
    v = features(kind)
    text = features(kind, seed=1)[:7]
    rng = np.random.default_rng(5)
    weight = rng.integers(-2, 3, size=(6, v.shape[1])).astype(float)
    layer = ScoringLayer(
        norm=nn.Identity(),
        q_proj=nn.Identity(),
        k_proj=lambda x: x @ torch.tensor(weight.T, dtype=torch.float32),
        heads=3,
        kv_heads=3,
        head_dim=2,
    )
    hidden = torch.tensor(np.concatenate([v, text]), dtype=torch.float32)
    given = context(
        v,
        hidden_at=lambda number: hidden,
        text_index=torch.arange(len(v), len(hidden)),
        projected=lambda what, number: getattr(layer, what)(hidden),
    )
    pruner = Dart(image_pivots=4, text_pivots=3)
    expected = dart(v, text, v @ weight.T, text @ weight.T, count, 4, 3)
    assert chosen(pruner, given, count) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_evs(kind):
    """A video of 4 frames of 2 x 5 tokens: change against the frame before, first frame first."""
    v = features(kind)
    item = VisualItem(torch.tensor(v, dtype=torch.float32), (4, 2, 5), "video")
    given = SimpleNamespace(
        items=[item],
        tokens=TOKENS,
        visual_index=torch.arange(TOKENS),
        device=torch.device("cpu"),
        once=every_time,
    )
    score = {}
    for frame in range(1, 4):
        for place in range(10):
            now, before = frame * 10 + place, (frame - 1) * 10 + place
            score[now] = round(1 - cosine(v[now], v[before]), 6)
    order = [*range(10), *sorted(score, key=lambda i: (-score[i], i))]
    for count in (10, 17, 25):
        assert chosen(Evs(), given, count) == sorted(order[:count])
    assert set(chosen(Evs(), given, 6)) < set(range(10))
