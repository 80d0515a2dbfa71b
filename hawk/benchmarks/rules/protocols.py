"""The protocols by name, and the prompt styles within VLMEvalKit's.

A protocol is a set of prompts and scoring rules. Every result carries its protocol, and results of
different protocols never share a table.
"""

from __future__ import annotations

VLMEVALKIT = "vlmevalkit"  # VLMEvalKit at e8e78f05 (2026-08), judge: exact matching
MS_VLMEVAL = "ms-vlmeval-0.0.18"  # the copy that the authors of HAWK ran
LMMS_EVAL = "lmms-eval"  # lmms-eval at 75571cfe (2026-08)
ALL = (VLMEVALKIT, MS_VLMEVAL, LMMS_EVAL)

# VLMEvalKit lets a model bring its own prompts. "default" is what Qwen2.5-VL is registered with.
STYLES = ("default", "qwen", "internvl")

# VLMEvalKit gives every benchmark the same room; InternVL3 has its own.
VLMEVALKIT_TOKENS = {"default": 2048, "qwen": 2048, "internvl": 4096}

SINGLE_WORD = "Answer the question using a single word or phrase."
SHORT_WORDS = "Please try to answer the question with short words or phrases if possible."
LETTER = "Answer with the option's letter from the given choices directly."
YES_NO = "Please answer yes or no."
