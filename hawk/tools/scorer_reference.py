"""Scores of visual tokens by a file of `hawk export scorer`, which holds this text too. numpy alone."""

import numpy as np


def scores(embeddings, directions, constants, weights, eps, normalization):  # type: ignore[no-untyped-def]
    """[n, hidden] visual embeddings of one prompt -> [n]; the highest stay. The rest stands in the file."""
    x = embeddings.astype(np.float32)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    a = directions @ x.T + constants[:, None]  # [heads, n]
    if normalization == "softmax":
        a = np.exp(a - a.max(axis=-1, keepdims=True))
    if normalization in ("minmax", "standardize"):
        a = a - (a.min if normalization == "minmax" else a.mean)(axis=-1, keepdims=True)
    rms = np.sqrt((a**2).mean(axis=-1, keepdims=True))
    by = {"l2": rms * np.sqrt(len(x)), "softmax": a.sum(axis=-1, keepdims=True), "standardize": rms}
    by |= {"none": np.ones_like(rms), "minmax": a.max(axis=-1, keepdims=True)}
    return weights @ np.divide(a, by[normalization], out=np.zeros_like(a), where=by[normalization] != 0)
