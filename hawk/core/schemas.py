"""Schemas of the tables between steps. Those of ``tables/`` stand beside the analysis that computes them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def described(columns: Sequence[tuple[str, pa.DataType, str]]) -> tuple[pa.Schema, dict[str, str]]:
    """A table's schema, and what each of its columns holds, from one list of (name, type, meaning)."""
    schema = pa.schema([(name, kind) for name, kind, _ in columns])
    return schema, {name: meaning for name, _, meaning in columns}


_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("metric_group", pa.string()),
        ("split", pa.string()),
        ("images", pa.list_(_FILE)),
        ("video", _FILE),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("references", pa.list_(pa.string())),
        ("category", pa.string()),
        # [left, top, right, bottom] in pixels of the image as it is shown; null: not known
        ("relevant", pa.list_(pa.list_(pa.int32(), 4))),
    ]
)

SCORES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("prediction", pa.string()),
        ("parsed", pa.string()),  # null: nothing could be parsed; the score is then 0
        ("score", pa.float64()),  # in [0, 1]
        ("first_word_score", pa.float64()),  # of the prediction's first word; null: no word can be right
        ("stopped", pa.bool_()),  # false: the answer ran to the limit of new tokens
        ("reference_logprob", pa.float64()),  # natural log, teacher-forced, summed over tokens
        # Log-probability of the right answer's first token minus that of the best wrong one (nats); null: no
        # wrong answer begins with another token
        ("margin", pa.float64()),
        ("prompt_tokens", pa.int32()),  # unpruned prompt, visual tokens included
        ("visual_tokens", pa.int32()),  # before pruning
        ("kept_tokens", pa.int32()),  # visual tokens after pruning
    ]
)

EVALUATION = pa.schema(
    [
        *SCORES,
        ("keeps_token_0", pa.bool_()),  # the prompt's first visual token; null: it has none
        ("pruning_ratio", pa.string()),
        ("seed", pa.int64()),
    ]
)

HEAD_GRADIENTS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("margin", pa.float64()),  # as in SCORES
        # Estimated drop in the margin, nats, per head of the file's layers, layer by layer; null without one
        ("drops", pa.list_(pa.float64())),
    ]
)

# Rows of an estimate (intervention gradient) have margin columns alone; the other measures are null.
DROPS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("ablation", pa.string()),  # its name in ablation.recipes
        ("intervention", pa.string()),
        ("estimate", pa.bool_()),  # from gradients, and nothing was switched off
        ("layer", pa.int32()),
        ("head", pa.int32()),
        ("reference_value", pa.float64()),  # native
        ("ablated_value", pa.float64()),  # native; of keep_only: with the tokens that this head alone chose
        # Points of 100 · native / native_max; more always speaks for the head. zero, mean, selection: what is
        # lost without it, reference − ablated. keep_only: what it retains beyond the reference, ablated −
        # reference. The reference is one for all heads, and min-shift cancels it.
        ("drop", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("logprob_drop", pa.float64()),  # nats per sample, of the same sign
        ("logprob_low", pa.float64()),
        ("logprob_high", pa.float64()),
        # nats per sample that has a margin, of the same sign; null: no sample has one
        ("margin_drop", pa.float64()),
        ("margin_low", pa.float64()),
        ("margin_high", pa.float64()),
        # Estimates alone: mean of |drop| over samples, nats, in which those moved up and down do not cancel
        ("margin_size", pa.float64()),
        ("samples", pa.int32()),
        ("groups", pa.int32()),
        ("unparsed", pa.int32()),
        ("noise_floor", pa.float64()),
        ("is_noise", pa.bool_()),
    ]
)

COST = pa.schema(
    [
        ("variant", pa.string()),
        ("pruning_ratio", pa.string()),
        ("repeat", pa.int32()),
        ("vision_ms", pa.float64()),
        ("token_score_ms", pa.float64()),
        ("prefill_ms", pa.float64()),
        ("decode_ms_per_token", pa.float64()),
        ("total_ms", pa.float64()),
        ("kv_cache_bytes", pa.int64()),
        ("peak_memory_bytes", pa.int64()),
        ("prompt_tokens", pa.int32()),
        ("kept_tokens", pa.int32()),
    ]
)
