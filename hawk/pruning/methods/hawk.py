"""HAWK: text-to-vision scores of one layer, each head weighted by how much it matters.

Paper: HAWK, CVPR 2026, arXiv 2604.07812. For head i and visual token k, with H the normalized input
of the scoring layer and Q, K its projections (bias included, q/k norms where the family has them,
no rotary positions):

    a_i(k) = mean over text queries t of q_it · k_ik / sqrt(d)          (no softmax)
    I_k    = sum over heads of w_i · normalize over tokens(a_i)(k)

and the k tokens with the highest I stay.

Fast path, exact by linearity: the mean over queries is taken before the product, and without a key
norm  q̄_i · (W_k h + b) = (W_kᵀ q̄_i) · h + q̄_i · b,  so one [n, hidden] x [hidden, heads] product
replaces the key projection and the text x vision matrix. Cost O(n · hidden · heads).

Query-free (not the paper's; derived from it): ``query="calibrated"`` puts the mean q̄_i of the calibration
questions, stored with the weights, in place of the prompt's. No text is read, so the choice depends on the
images alone, and a server may cache it; ``hawk export scorer`` writes it as one matrix.

Informed words (not the paper's): of "what is the red digit?" most words say nothing of where to look, and a
mean over words is mostly theirs. ``text_reduction="informed"`` weights each word t, in each head, by what its
distribution P_it = softmax over visual tokens of q_it · k says beyond none, in nats:

    a_i(k) = sum over t of g_it P_it(k) / sum over t of g_it,   g_it = KL(P_it || uniform) = log n - H(P_it)

Prior correction (not the paper's): some tokens score high whatever is asked. With P_i the question's
distribution over visual tokens (its scores where they are one, else their softmax) and Q_i the same with
what stands before the question as the query, ``prior=True`` scores token k by its term of KL(P_i || Q_i):

    a_i(k) = P_i(k) · log(P_i(k) / Q_i(k))

A causal model's states before the question do not know it, so Q is that of the prompt without its question,
at any layer and without a second pass.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hawk.core.errors import InputError
from hawk.core.head_weights import HeadWeights
from hawk.core.values import refuse
from hawk.core.variants import CALIBRATED, TOKEN_SCORE, require_calibrated_query, require_question
from hawk.models.base import Family, ScoringLayer
from hawk.models.projections import plain
from hawk.pruning.base import Pruner
from hawk.pruning.context import PruningContext
from hawk.pruning.fetch import send, take
from hawk.pruning.rotary import rotary, rotate

# On a CPU few enough rows of a weight that is converted, and few enough visual tokens whose norm and product
# are computed together, to stay in its cache between the two; on a GPU, where a chunk costs its launches, all
# but of long videos, whose normalized states would take gigabytes.
ROWS_AT_ONCE = 512
TOKENS_AT_ONCE = 128
ON_A_GPU = 8192

DISTRIBUTIONS = ("attention", "informed")  # text reductions whose scores are distributions over tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hawk(Pruner):
    """Tokens that the question scores highest in one layer, each head by its weight.

    Parameters
    ----------
    weights : HeadWeights, str, Path or None, default None
        One weight per head; a shipped name, path or Hub id of them; None for uniform weights. Signed ones
        (not the paper's) let a head count against a token.
    layer : int or None, default None
        The scoring layer. None: that of the weights, 0 for uniform ones. For layer k of L the whole prompt
        first runs through the k layers below: k / L of the unpruned prefill, on top of the pruned one.
    token_score_normalization : {"l2", "softmax", "minmax", "standardize", "none"}, default "l2"
        Of every head's scores over the visual tokens.
    text_reduction : {"mean", "attention", "informed", "max"}, default "mean"
        Over the question's tokens: mean of the raw products (the authors), softmax over visual tokens per
        query and then the mean, the same weighted by what each query says of the tokens, or the highest.
    rope : bool, default False
        Apply rotary positions to queries and keys (a control; the authors do not).
    query_span : {"instruction", "after_vision", "authors", "last_token"}, default "instruction"
        The text of the last user turn, what follows the last image, the range that the authors' code takes
        (``after_vision``, unless an image ends the turn), or the prompt's last token, which knows the
        question above layer 0 only (:func:`hawk.models.turns.instruction_index`).
    score_dtype : {"float32", "bfloat16", "float16", "float64"}, default "float32"
        The arithmetic of the score; the authors use the model's own dtype.
    query : {"question", "calibrated"}, default "question"
        "question": the prompt's own, also where the weights hold a mean query, which is then not used.
        "calibrated": in place of the question the mean query of the calibration questions, which the weights
        must hold. No text is read, ``query_span`` is not used, and the choice depends on the images alone.
        Needs ``text_reduction`` "mean", ``rope`` false and the weights' own layer.
    prior : bool, default False
        Score a token by how much more the question asks for it than the prompt without a question does:
        P · log(P / Q) per head. Needs the prompt's own question.
    """

    weights: HeadWeights | str | Path | None = None
    layer: int | None = None  # None: the weights' layer, 0 for uniform
    token_score_normalization: str = "l2"
    text_reduction: str = "mean"
    rope: bool = False
    query_span: str = "instruction"
    score_dtype: str = "float32"
    query: str = "question"
    prior: bool = False

    allowed = {
        "token_score_normalization": ("l2", "softmax", "minmax", "standardize", "none"),
        "text_reduction": ("mean", "attention", "informed", "max"),
        "query_span": ("instruction", "after_vision", "authors", "last_token"),
        "score_dtype": ("float32", "bfloat16", "float16", "float64"),
        "query": ("question", "calibrated"),
    }
    bounds = {"layer": "0..layers"}
    paper = "HAWK, CVPR 2026, arXiv 2604.07812"
    takes_weights = True
    takes_scoring = ("token_score_normalization", "text_reduction", "rope", "query_span", "layer")
    uses_query = True
    reads_other_question = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.weights, str | Path):
            object.__setattr__(self, "weights", HeadWeights.load(self.weights))
        if not isinstance(self.weights, HeadWeights | None):  # bare numbers say neither layer nor model
            raise refuse(
                "weights of hawk", self.weights, "HeadWeights, a shipped name, a path, a Hub id or None"
            )
        self._compare_options()
        if self.query != CALIBRATED:
            require_question(self.query_span, self.prior, shuffled=False)
        if self.query == CALIBRATED:
            self._check_calibrated()
            for fact in ("uses_query", "reads_other_question"):
                object.__setattr__(self, fact, False)
        elif isinstance(self.weights, HeadWeights) and self.weights.mean_query is not None:
            log.info("head weights hold a mean query (query: calibrated); the prompt's own question is used")

    def _check_calibrated(self) -> None:
        weights = self.weights
        require_calibrated_query(
            isinstance(weights, HeadWeights) and weights.mean_query is not None,
            self.rope,
            self.text_reduction,
            self.prior,
        )
        if isinstance(weights, HeadWeights) and self.scoring_layer_index != weights.layer:
            raise InputError(
                f"query 'calibrated': the mean query is of layer {weights.layer}, and tokens are scored in "
                f"layer {self.scoring_layer_index}."
            )

    def _compare_options(self) -> None:
        """Weights used with another token score than they were calibrated for: allowed, but said."""
        if not isinstance(self.weights, HeadWeights):
            return
        for name, value in self.weights.token_score.items():
            used = getattr(self, TOKEN_SCORE[name]) if name in TOKEN_SCORE else value
            if used != value:
                log.warning("head weights were calibrated with %s=%r and are used with %r", name, value, used)

    @property
    def scoring_layer_index(self) -> int:
        if self.layer is not None:
            return self.layer
        return self.weights.layer if isinstance(self.weights, HeadWeights) else 0

    def check(self, model: nn.Module, family: Family) -> None:
        geometry = family.geometry(model)
        if isinstance(self.weights, HeadWeights):
            self.weights.check(geometry, family.name)
        if not 0 <= self.scoring_layer_index < geometry.layers:
            raise InputError(
                f"scoring layer {self.scoring_layer_index} is outside the model's 0-{geometry.layers - 1}."
            )

    def scores(self, context: PruningContext) -> Tensor:
        raw = self.head_scores(context)
        if self.prior:
            raw = _beyond_prior(raw, self.head_scores(context, prior=True), self.text_reduction)
        weights = self.weights.weights if isinstance(self.weights, HeadWeights) else [1.0] * len(raw)
        total = torch.tensor(weights, dtype=raw.dtype)
        return normalize(raw, self.token_score_normalization).T @ send(total / total.abs().sum(), raw.device)

    def head_scores(self, context: PruningContext, prior: bool = False) -> Tensor:
        """a_i(k) of one query before normalization, [heads, n].

        prior: of what stands before the question, in the question's place.
        """
        index = self.scoring_layer_index
        layer, hidden = context.scoring_layer(index), context.hidden_at(index)
        dtype = getattr(torch, self.score_dtype)
        if self.query == CALIBRATED:
            assert isinstance(self.weights, HeadWeights)
            text = layer.norm(
                take(hidden, context.visual_index[:1])
            )  # for the dtype and device of states alone
            queries = send(torch.tensor(self.weights.mean_query, dtype=dtype), text.device)[None]
        else:
            queries, text = self._queries(context, prior)
        linear = self.text_reduction == "mean" and not self.rope
        scale = 1.0 / math.sqrt(layer.head_dim)
        if linear and layer.k_norm is None and plain(layer.k_proj, text):
            query = queries.mean(0) if len(queries) > 1 else queries[0]
            return _fast(layer, query * scale, hidden, context.visual_index)
        shown = context.visual_index
        if plain(layer.k_proj, text):
            keys = layer.keys(layer.norm(take(hidden, shown))).to(dtype)  # [n, kv_heads, d]
        else:
            keys = take(context.projected("keys", index), shown).to(dtype)
        if self.rope:
            cos, sin = rotary(context, hidden)
            keys = rotate(keys, take(cos, shown).to(keys), take(sin, shown).to(keys))
        if self.text_reduction == "mean":
            return _products(queries.mean(0, keepdim=True), keys)[0] * scale
        return _reduce(queries, keys, scale, self.text_reduction)

    def mean_query(self, context: PruningContext) -> Tensor:
        """The mean over the question's tokens of what they ask, [heads, d]."""
        return self._queries(context)[0].mean(0)

    def _before(self, context: PruningContext) -> Tensor:
        """Positions of the prompt's text before its question."""
        text = context.text_index
        before = text[text < context.query_index(self.query_span)[0]]
        if not len(before):
            raise InputError("prior: true needs some text before the question; this prompt has none.")
        return before

    def _queries(self, context: PruningContext, prior: bool = False) -> tuple[Tensor, Tensor]:
        """The question's queries, [Q, heads, d], or their mean, [1, heads, d]; and its normalized states."""
        index = self.scoring_layer_index
        layer, hidden = context.scoring_layer(index), context.hidden_at(index)
        dtype = getattr(torch, self.score_dtype)
        other = context.query_ids is not None and not prior  # the shuffled-query control's question
        require_question(self.query_span, prior=False, shuffled=other)
        if other:
            text = layer.norm(context.query_embeddings())
            where = context.query_index(self.query_span)[-1:]
        else:
            where = self._before(context) if prior else context.query_index(self.query_span)
            text = layer.norm(take(hidden, where))
        linear = self.text_reduction == "mean" and not self.rope
        if linear and layer.q_norm is None and plain(layer.q_proj, text):
            queries = _mean_query(layer, text.to(dtype).mean(0))[None]
        elif plain(layer.q_proj, text):
            queries = layer.queries(text).to(dtype)  # [Q, heads, d]
        elif other:
            queries = layer.queries(text[None])[0].to(dtype)
        else:
            queries = take(context.projected("queries", index), where).to(dtype)
        if self.rope:  # another sample's question has one position: that of this one's last token
            cos, sin = rotary(context, hidden)
            queries = rotate(queries, take(cos, where).to(queries), take(sin, where).to(queries))
        return queries, text


def normalize(raw: Tensor, how: str) -> Tensor:
    """Per-head normalization over visual tokens, [heads, n] → [heads, n]; constant heads give 0."""
    if how == "none":
        return raw
    if how == "softmax":
        return raw.softmax(-1)
    if how == "l2":
        return _divide(raw, raw.norm(dim=-1, keepdim=True))
    if how == "minmax":
        low = raw.amin(-1, keepdim=True)
        return _divide(raw - low, raw.amax(-1, keepdim=True) - low)
    centred = raw - raw.mean(-1, keepdim=True)  # standardize
    return _divide(centred, centred.pow(2).mean(-1, keepdim=True).sqrt())


def _divide(values: Tensor, by: Tensor) -> Tensor:
    """values / by where by is not zero, and 0 there; NaN stays NaN, for the caller to refuse."""
    return values / by.masked_fill(by == 0, torch.inf)


def _beyond_prior(question: Tensor, prior: Tensor, reduction: str) -> Tensor:
    """P · log(P / Q) from the head scores of the question and of the prior, [heads, n] → [heads, n]."""
    p, q = (scores if reduction in DISTRIBUTIONS else scores.softmax(-1) for scores in (question, prior))
    least = torch.finfo(p.dtype).tiny  # of 0, P gives 0 and Q no infinity
    return p * (p.clamp_min(least).log() - q.clamp_min(least).log())


def _mean_query(layer: ScoringLayer, mean: Tensor) -> Tensor:
    """The projection of the mean text state [hidden] → [heads, d], in the dtype of ``mean``.

    The mean of all projections by linearity, in one read of the weight. In the model's bfloat16 the
    mean would be rounded first; a whole copy of the weight in float32 would cost more than the product.
    """
    projection = layer.q_proj
    weight = projection.weight
    parts = [part.to(mean.dtype) @ mean for part in weight.split(_at_once(ROWS_AT_ONCE, weight))]
    query = torch.cat(parts) if len(parts) > 1 else parts[0]
    if projection.bias is not None:
        query = query + projection.bias.to(mean.dtype)
    return query.view(layer.heads, layer.head_dim)


def _fast(layer: ScoringLayer, query: Tensor, hidden: Tensor, visual: Tensor) -> Tensor:
    """query [heads, d], hidden [T, hidden], positions of the visual tokens [n] → [heads, n].

    No key is projected, and on a CPU the normalized states of all tokens never exist at once.
    """
    grouped = query.view(layer.kv_heads, -1, layer.head_dim)  # heads of one key group are adjacent
    weight = layer.k_proj.weight.to(query.dtype).view(layer.kv_heads, layer.head_dim, -1)
    directions = (grouped @ weight).flatten(0, 1)  # [heads, hidden]
    parts = [
        directions @ layer.norm(take(hidden, places)).to(query.dtype).T
        for places in visual.split(_at_once(TOKENS_AT_ONCE, hidden))
    ]
    out = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
    if layer.k_proj.bias is not None:
        bias = layer.k_proj.bias.to(query.dtype).view(layer.kv_heads, layer.head_dim, 1)
        out += (grouped @ bias).flatten(0, 1)  # [heads, 1]
    return out


def _at_once(on_cpu: int, values: Tensor) -> int:
    return on_cpu if values.device.type == "cpu" else ON_A_GPU


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    """[Q, heads, d] x [n, kv, d] → [Q, heads, n], each head with its group's key."""
    count, heads, width = queries.shape
    grouped = queries.view(count, keys.shape[1], -1, width)
    return torch.einsum("qgrd,ngd->qgrn", grouped, keys).reshape(count, heads, -1)


def _reduce(queries: Tensor, keys: Tensor, scale: float, how: str, chunk: int = 16) -> Tensor:
    """Reductions that need every text x vision product, a few queries at a time; → [heads, n]."""
    parts = (_products(part, keys) * scale for part in queries.split(chunk))  # [Q, heads, n] each
    if how == "max":
        return torch.stack([products.amax(0) for products in parts]).amax(0)
    sums: list[Tensor] = []
    weights: list[Tensor] = []
    for products in parts:
        attention = products.softmax(-1)
        says = _information(attention) if how == "informed" else torch.ones_like(attention[..., :1])
        sums.append((says * attention).sum(0))
        weights.append(says.sum(0))
    return torch.stack(sums).sum(0) / torch.stack(weights).sum(0)


def _information(attention: Tensor) -> Tensor:
    """KL(P || uniform) of distributions P over tokens, [..., n] → [..., 1]; flat ones have next to none."""
    entropy = torch.special.entr(attention).sum(-1, keepdim=True)
    return (math.log(attention.shape[-1]) - entropy).clamp_min(1e-9)
