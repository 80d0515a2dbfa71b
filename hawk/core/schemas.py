"""Schemas of the tables between steps. Those of ``tables/`` stand beside the analysis that computes them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def described(columns: Sequence[tuple[str, pa.DataType, str]]) -> tuple[pa.Schema, dict[str, str]]:
    """A table's schema, and what each of its columns holds, from one list of (name, type, meaning)."""
    schema = pa.schema([(name, kind) for name, kind, _ in columns])
    return schema, {name: meaning for name, _, meaning in columns}


_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

SAMPLES, SAMPLES_MEANINGS = described(
    [
        ("sample_id", pa.string(), "Name of the question, unique in its benchmark."),
        (
            "group_id",
            pa.string(),
            "SHA-256 of the image's pixels (of the file, for a video): the unit that intervals resample.",
        ),
        ("metric_group", pa.string(), "Questions that the metric counts together, such as the pairs of MME."),
        ("split", pa.string(), "The dataset's own split."),
        ("images", pa.list_(_FILE), "The encoded images."),
        ("video", _FILE, "The video's path. May be empty."),
        ("question", pa.string(), "The question's text."),
        (
            "options",
            pa.list_(pa.string()),
            "The options of a multiple-choice question; an empty list for others.",
        ),
        ("references", pa.list_(pa.string()), "The right answers."),
        ("category", pa.string(), "The benchmark's own category. May be empty."),
        (
            "relevant",
            pa.list_(pa.list_(pa.int32(), 4)),
            "Boxes [left, top, right, bottom] of the asked object, in pixels as shown. May be empty.",
        ),
    ]
)

_SCORES = [
    ("sample_id", pa.string(), "Name of the question, unique in its benchmark."),
    ("prediction", pa.string(), "What the model answered."),
    (
        "parsed",
        pa.string(),
        "What the parser read from it. Empty: nothing could be read, and the score is 0.",
    ),
    ("score", pa.float64(), "The question's score, from 0 to 1."),
    (
        "first_word_score",
        pa.float64(),
        "What the answer's first word alone would score. Empty: no single word can be right.",
    ),
    ("stopped", pa.bool_(), "False if the answer ran to the limit of new tokens."),
    (
        "reference_logprob",
        pa.float64(),
        "Log-probability of the right answer, summed over its tokens (natural logarithm).",
    ),
    (
        "margin",
        pa.float64(),
        "Log-probability of the first token of the right answer minus that of the best wrong one. "
        "Empty: no wrong answer begins with another token.",
    ),
    ("prompt_tokens", pa.int32(), "Tokens of the unpruned prompt, visual ones included."),
    ("visual_tokens", pa.int32(), "Visual tokens before pruning."),
    ("kept_tokens", pa.int32(), "Visual tokens after pruning."),
]
SCORES, SCORES_MEANINGS = described(_SCORES)

EVALUATION, EVALUATION_MEANINGS = described(
    [
        *_SCORES,
        (
            "keeps_token_0",
            pa.bool_(),
            "Whether the prompt's first visual token was kept. Empty: the prompt has none.",
        ),
        ("pruning_ratio", pa.string(), "Fraction of visual tokens removed, as an exact decimal."),
        ("seed", pa.int64(), "The seed of a method that draws at random, else 0."),
    ]
)

HEAD_GRADIENTS, HEAD_GRADIENTS_MEANINGS = described(
    [
        ("sample_id", pa.string(), "Name of the question, unique in its benchmark."),
        (
            "margin",
            pa.float64(),
            "Log-probability of the first token of the right answer minus that of the best wrong "
            "one. Empty: no wrong answer begins with another token.",
        ),
        (
            "drops",
            pa.list_(pa.float64()),
            "Estimated drop in the margin of every head of the ablation's layers, layer by layer. "
            "Empty: the question has no margin.",
        ),
    ]
)

# Rows of an estimate (intervention gradient) have margin columns alone; the other measures are null.
DROPS, DROPS_MEANINGS = described(
    [
        ("benchmark", pa.string(), "The benchmark's name."),
        ("ablation", pa.string(), "The recipe's name in `ablation.recipes`."),
        (
            "intervention",
            pa.string(),
            "What was done to the head: `zero`, `mean`, `selection`, `keep_only` or `gradient`.",
        ),
        (
            "estimate",
            pa.bool_(),
            "Whether the row is an estimate by gradients: nothing was switched off, and only columns "
            "of the margin are there.",
        ),
        ("layer", pa.int32(), "The layer, counted from 0."),
        ("head", pa.int32(), "The query head within its layer, counted from 0."),
        ("reference_value", pa.float64(), "The benchmark's value without ablation, in its own unit."),
        (
            "ablated_value",
            pa.float64(),
            "The benchmark's value with the head switched off, in its own unit; for `keep_only`, "
            "with the tokens that this head alone chose.",
        ),
        # Points of 100 · native / native_max; more always speaks for the head. zero, mean, selection: what is
        # lost without it, reference − ablated. keep_only: what it retains beyond the reference, ablated −
        # reference. The reference is one for all heads, and min-shift cancels it.
        (
            "drop",
            pa.float64(),
            "What the head is worth, in points of 100: reference minus ablated; for `keep_only`, "
            "ablated minus reference.",
        ),
        ("ci_low", pa.float64(), "Lower end of the interval."),
        ("ci_high", pa.float64(), "Upper end of the interval."),
        ("logprob_drop", pa.float64(), "The same for the log-probability of the right answer, per question."),
        ("logprob_low", pa.float64(), "Lower end of its interval."),
        ("logprob_high", pa.float64(), "Upper end of its interval."),
        # nats per sample that has a margin, of the same sign; null: no sample has one
        ("margin_drop", pa.float64(), "The same for the margin, per question that has one. Empty: none has."),
        ("margin_low", pa.float64(), "Lower end of its interval. May be empty."),
        ("margin_high", pa.float64(), "Upper end of its interval. May be empty."),
        # Estimates alone: mean of |drop| over samples, nats, in which those moved up and down do not cancel
        (
            "margin_size",
            pa.float64(),
            "Estimates: mean over questions of the size of the drop. Empty for the others.",
        ),
        ("samples", pa.int32(), "Number of questions."),
        ("groups", pa.int32(), "Number of distinct images."),
        ("unparsed", pa.int32(), "Answers from which nothing could be read."),
        ("noise_floor", pa.float64(), "How large a drop may be from other batches alone, in points."),
        (
            "is_noise",
            pa.bool_(),
            "Whether the drop is within noise: its interval reaches 0, or it is no larger than the "
            "noise floor.",
        ),
    ]
)

COST, COST_MEANINGS = described(
    [
        ("variant", pa.string(), "The variant's name."),
        ("pruning_ratio", pa.string(), "Fraction of visual tokens removed, as an exact decimal."),
        ("repeat", pa.int32(), "Number of the repeat, counted from 0."),
        ("vision_ms", pa.float64(), "Time in the vision tower, in milliseconds."),
        (
            "token_score_ms",
            pa.float64(),
            "Time for scoring and choosing tokens, with the layers below the scoring layer.",
        ),
        ("prefill_ms", pa.float64(), "Time for reading the prompt."),
        ("decode_ms_per_token", pa.float64(), "Time per new token."),
        ("total_ms", pa.float64(), "The whole of it."),
        ("kv_cache_bytes", pa.int64(), "Size of the key-value cache after the prompt."),
        ("peak_memory_bytes", pa.int64(), "Highest memory in use on the device."),
        ("prompt_tokens", pa.int32(), "Tokens of the unpruned prompt, visual ones included."),
        ("kept_tokens", pa.int32(), "Visual tokens after pruning."),
    ]
)
