"""The step mean_queries: what the calibration questions of a benchmark ask on average, per head.

For weights recipes with ``query: calibrated``, at the layer and with the query span of their token score.
"""

from __future__ import annotations

from hawk.config.recipes import ablations_of, token_score_of_weights, weights_named
from hawk.core.atomic import write_json
from hawk.core.provenance import provenance
from hawk.inference.scoring import batches
from hawk.pruning.mean_query import mean_query
from hawk.steps.session import Session

READS = (
    "seed",
    "model",
    "scoring",
    "preprocessing",
    "features",
    "generation",
    "ablation.recipes",
    "weights.recipes",
    "data.{benchmark}",
)


def mean_queries(session: Session, recipe: str) -> None:
    """Write the mean query over the samples, ``[heads][head_dim]``, and how many questions it is of."""
    config, vlm, prompts = session.config, session.vlm, session.prompts
    (ablation,) = ablations_of(config, weights_named(config, recipe))
    layer, span = ablation["layer"], token_score_of_weights(config, ablation)["query_span"]
    chosen = batches([*map(len, prompts.ids)], session.batch_size)
    inputs = (prompts.inputs(numbers) for numbers in chosen)
    found, questions = mean_query(vlm.model, vlm.family, inputs, layer, span)
    identity = {"benchmark": session.name, "role": session.role, "recipe": recipe}
    content = {
        "mean_query": found.tolist(),
        "questions": questions,
        "provenance": provenance(identity, layer=layer, query_span=span, **session.settings()),
    }
    write_json(session.paths.mean_queries(recipe, session.name), content)
