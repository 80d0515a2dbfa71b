"""Scenes are fixed by their number, splits share nothing, and questions agree with the objects."""

from itertools import islice

import numpy as np
import pytest

from hawk.benchmarks import benchmark
from hawk.benchmarks.toy.digits import TRAINING_SCANS, load_scans
from hawk.benchmarks.toy.easy_vqa import read_images
from hawk.benchmarks.toy.questions import TASKS, make_sample, training_questions
from hawk.benchmarks.toy.scenes import BUSY, CELL, SPLITS, Scene, make_scene
from hawk.benchmarks.toy.vocabulary import WORDS

NUMBER = 300


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene("test", 0, i) for i in range(NUMBER)]


def test_same_number_same_scene() -> None:
    first, again = make_scene("train", 3, 7), make_scene("train", 3, 7)
    assert np.array_equal(first.image, again.image)
    assert first.objects == again.objects


def test_other_split_seed_or_number_gives_another_scene() -> None:
    images = [
        make_scene(split, seed, index).image.tobytes()
        for split in SPLITS
        for seed in range(3)
        for index in range(20)
    ]
    assert len(set(images)) == len(images)


def test_no_test_scan_is_in_training() -> None:
    (train, _), (test, _) = load_scans("train"), load_scans("test")
    assert len(train) == TRAINING_SCANS
    assert len(train) + len(test) == 1797
    assert not {scan.tobytes() for scan in train} & {scan.tobytes() for scan in test}


def test_easy_vqa_keeps_the_published_splits() -> None:
    train, test = list(read_images("train")), list(read_images("test"))
    assert (len(train), len(test)) == (4000, 1000)
    assert sum(len(image.questions) for image in train) == 38575
    assert sum(len(image.questions) for image in test) == 9673
    assert not {i.pixels().tobytes() for i in train} & {i.pixels().tobytes() for i in test}


def test_objects_can_be_told_apart(scenes: list[Scene]) -> None:
    for scene in scenes:
        objects = scene.objects
        assert 4 <= len(objects) <= 7
        assert len({item.name for item in objects}) == len(objects)
        assert len({(item.row, item.column) for item in objects}) == len(objects)
        for kind in ("digit", "shape"):
            colors = [item.color for item in objects if item.kind == kind]
            assert len(set(colors)) == len(colors) >= 2


def test_objects_are_painted_where_the_list_says(scenes: list[Scene]) -> None:
    for scene in scenes:
        occupied = {(item.row, item.column) for item in scene.objects}
        for row in range(4):
            for column in range(4):
                top, left = row * CELL, column * CELL
                cell = scene.image[top : top + CELL, left : left + CELL]
                assert (cell.max() > 100) == ((row, column) in occupied)


def answer_again(text: str, scene: Scene) -> str:
    """The answer found in the list of objects, from the words of the question alone."""
    *_, before, word = text.rstrip("?").split()
    if text.startswith("is there"):
        return "yes" if any((o.color, o.name) == (before, word) for o in scene.objects) else "no"
    if text.startswith("what color"):
        (found,) = (o.color for o in scene.objects if o.name == word)
        return found
    kind = "digit" if "digit" in text else "shape"
    (found,) = (o.name for o in scene.objects if (o.kind, o.color) == (kind, word))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_answers_agree_with_the_objects(task: str) -> None:
    answers = []
    for i in range(NUMBER):
        scene, question = make_sample(task, "test", 0, i)
        assert question.answer == answer_again(question.text, scene)
        answers.append(question.answer)
    commonest = max(answers.count(answer) for answer in set(answers)) / NUMBER
    assert commonest < (0.6 if task == "presence" else 0.3)


@pytest.mark.parametrize("task", TASKS)
def test_relevant_boxes_hold_the_object_that_is_asked_for(task: str) -> None:
    for i in range(100):
        scene, question = make_sample(task, "test", 0, i, BUSY)
        assert 10 <= len(scene.objects) <= 13
        assert question.answer == answer_again(question.text, scene)
        words = question.text.rstrip("?").split()
        if words[0] in ("which", "what") and words[1] != "color":
            asked = [o for o in scene.objects if (o.kind, o.color) == (words[1], words[-1])]
        else:
            asked = [o for o in scene.objects if o.name == words[-1]]
        assert question.relevant == tuple(o.box for o in asked)
        assert len(question.relevant) == 1 or question.answer == "no"
        for left, top, right, bottom in question.relevant:
            assert scene.image[top:bottom, left:right].max() > 100


@pytest.mark.parametrize("name", [f"{task}_busy" for task in TASKS])
def test_busy_benchmarks_ask_about_scenes_of_their_own(name: str) -> None:
    usual, busy = benchmark(name.removesuffix("_busy")), benchmark(name)
    assert busy.family != usual.family
    samples = list(islice(busy.load(), 20))
    assert not {s.group_id for s in samples} & {s.group_id for s in islice(usual.load(), 200)}
    for index, sample in enumerate(samples):
        scene, question = busy.scene_and_question(index)
        assert (sample.sample_id, sample.question) == (f"{index:04d}", question.text)
        assert sample.references == (answer_again(sample.question, scene),)
        assert len(scene.objects) >= 10


def test_training_questions_agree_with_the_objects(scenes: list[Scene]) -> None:
    random = np.random.default_rng(0)
    for scene in scenes[:50]:
        for question in training_questions(scene.objects, 10, random):
            assert question.answer == answer_again(question.text, scene)


def test_half_of_the_presence_questions_are_yes_and_no_word_gives_the_answer_away() -> None:
    pairs = [make_sample("presence", "test", 0, i) for i in range(1000)]
    yes = [question.answer == "yes" for _, question in pairs]
    assert 0.45 < np.mean(yes) < 0.55
    refused = [(scene, q.text.rstrip("?").split()) for scene, q in pairs if q.answer == "no"]
    both = [
        any(o.name == words[-1] for o in scene.objects) and any(o.color == words[-2] for o in scene.objects)
        for scene, words in refused
    ]
    assert np.mean(both) > 0.7


def test_every_word_is_in_the_vocabulary() -> None:
    texts = [q.text for image in read_images("test") for q in image.questions]
    texts += [make_sample(task, "test", 0, i)[1].text for task in TASKS for i in range(200)]
    words = {word for text in texts for word in text.replace("?", " ?").split()}
    assert words <= set(WORDS)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'validation'.*allowed: train, test"):
        make_scene("validation", 0, 0)
    with pytest.raises(ValueError, match=r"'counting'.*allowed: digits"):
        make_sample("counting", "test", 0, 0)
    with pytest.raises(ValueError, match=r"'validation'.*allowed: train, test"):
        next(read_images("validation"))
