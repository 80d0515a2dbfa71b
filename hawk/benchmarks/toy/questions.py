"""Questions about scenes: four tasks, four skills.

- *digits*: "which digit is red?" finds a colour among the digits and reads a scan.
- *shapes*: "what shape is blue?" finds a colour among the shapes and names the shape.
- *colors*: "what color is the 7?" finds an object by its name.
- *presence*: "is there a green 4?" binds both. Half are yes. Three in four of the others name an
  object and a colour that both occur, only not together, so neither alone gives the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hawk.benchmarks.toy.scenes import SPLITS, USUAL, Box, Scene, SceneObject, make_scene
from hawk.benchmarks.toy.vocabulary import COLORS, DIGITS, SHAPES

TASKS = ("digits", "shapes", "colors", "presence")


@dataclass(frozen=True)
class Question:
    text: str
    answer: str
    clue: str | None = None  # what must be looked up before it can be compared
    # Boxes of the objects that the answer is read from, of which there is one or, of an absent one, none.
    relevant: tuple[Box, ...] = field(default=(), compare=False)


def ask(task: str, objects: tuple[SceneObject, ...], random: np.random.Generator) -> Question | None:
    """A random question of this task, or None if the objects allow none."""
    if task == "digits":
        return _ask_by_color("digit", "which digit is {}?", objects, random)
    if task == "shapes":
        return _ask_by_color("shape", "what shape is {}?", objects, random)
    if task == "colors":
        item = objects[random.integers(len(objects))]
        return Question(f"what color is the {item.name}?", item.color, relevant=(item.box,))
    if task == "presence":
        return _ask_presence(objects, random)
    raise ValueError(f"task {task!r} is unknown; allowed: {', '.join(TASKS)}")


def _ask_by_color(
    kind: str, text: str, objects: tuple[SceneObject, ...], random: np.random.Generator
) -> Question | None:
    candidates = [item for item in objects if item.kind == kind]
    if not candidates:
        return None
    item = candidates[random.integers(len(candidates))]
    return Question(text.format(item.color), item.name, relevant=(item.box,))


def _ask_presence(objects: tuple[SceneObject, ...], random: np.random.Generator) -> Question:
    item = objects[random.integers(len(objects))]
    name, color, answer = item.name, item.color, "yes"
    if random.random() < 0.5:
        answer = "no"
        elsewhere = [other.color for other in objects if other.color != item.color]
        absent = [other for other in (*DIGITS, *SHAPES) if all(other != o.name for o in objects)]
        if random.random() < 0.25:
            name = absent[random.integers(len(absent))]
        else:
            colors = elsewhere or [other for other in COLORS if other != item.color]
            color = colors[random.integers(len(colors))]
    article = "an" if color == "orange" else "a"
    named = [other for other in objects if other.name == name]
    clue = named[0].color if named else "no"
    relevant = tuple(other.box for other in named)
    return Question(f"is there {article} {color} {name}?", answer, clue, relevant)


def training_questions(
    objects: tuple[SceneObject, ...],
    number: int,
    random: np.random.Generator,
    weights: tuple[int, ...] = (1, 1, 1, 1),
) -> list[Question]:
    """`number` questions about the objects of one scene, of random tasks in proportion to `weights`."""
    tasks = [task for task, weight in zip(TASKS, weights, strict=True) for _ in range(weight)]
    questions: list[Question] = []
    while len(questions) < number:
        question = ask(tasks[random.integers(len(tasks))], objects, random)
        if question is not None:
            questions.append(question)
    return questions


def make_sample(
    task: str, split: str, seed: int, index: int, count: tuple[int, int] = USUAL
) -> tuple[Scene, Question]:
    """The benchmark sample with this number: a scene, which all tasks share, and one question."""
    scene = make_scene(split, seed, index, count)
    if task not in TASKS:
        raise ValueError(f"task {task!r} is unknown; allowed: {', '.join(TASKS)}")
    random = np.random.default_rng((SPLITS.index(split), seed, index, 1 + TASKS.index(task)))
    question = ask(task, scene.objects, random)
    assert question is not None, "a full scene has objects of either kind"
    return scene, question
