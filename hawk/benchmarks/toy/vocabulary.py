"""Every word the embedded models know, and what it names.

One word is one token, so an answer is one token and a question about ten.
"""

from __future__ import annotations

DIGITS = tuple("0123456789")
SHAPES = ("circle", "square", "triangle", "cross", "diamond", "ring")
COLORS = {  # bright enough for a dark background, and far apart
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (60, 90, 250),
    "yellow": (240, 225, 50),
    "purple": (165, 60, 215),
    "orange": (250, 135, 20),
    "white": (235, 235, 235),
}

EASY_VQA_SHAPES = ("circle", "rectangle", "triangle")
EASY_VQA_COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")

OBJECT_NAMES = tuple(dict.fromkeys((*DIGITS, *SHAPES, *EASY_VQA_SHAPES)))
COLOR_NAMES = tuple(dict.fromkeys((*COLORS, *EASY_VQA_COLORS)))

# fmt: off
_GRAMMAR = (
    "a", "an", "color", "contain", "digit", "does", "image", "in", "is", "no", "not", "of", "present",
    "shape", "the", "there", "what", "which", "yes",
)
# fmt: on
_PUNCTUATION = ("?", ".", ",", ":", "!")
_ROLES = ("system", "user", "assistant")

WORDS = (*_ROLES, *_PUNCTUATION, *_GRAMMAR, *OBJECT_NAMES, *COLOR_NAMES)
