"""Small tables in the schema of the Hub's datasets, for every published benchmark.

The same files serve as a local folder, as a Hub cache (see :func:`as_cache`) and in whole runs.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT, INT = pa.string(), pa.int64()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def picture(number: int, kind: str = "png", size: tuple[int, int] = (96, 64)) -> bytes:
    """An encoded picture; equal numbers show the same, kinds are file formats and their oddities."""
    rng = np.random.default_rng(number)
    width, height = size
    pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(height // 4, 0).repeat(width // 6, 1)
    image, file, options = Image.fromarray(pixels), io.BytesIO(), {}
    if kind == "cmyk":
        image, kind = image.convert("CMYK"), "jpeg"
    elif kind == "sixteen":
        grey = pixels[..., 0].astype(np.uint16) * 257
        image, kind = Image.fromarray(grey), "png"
    elif kind == "rotated":  # the camera was held upright: shown turned by 90 degrees
        exif = Image.Exif()
        exif[0x0112] = 6
        options, kind = {"exif": exif}, "jpeg"
    elif kind == "palette":
        image, kind = image.convert("P"), "png"
    image.save(file, format=kind, **options)
    return file.getvalue()


def image(number: int, kind: str = "png", name: str | None = None) -> dict[str, Any]:
    return {"bytes": picture(number, kind), "path": name}


KINDS = ("png", "jpeg", "webp", "cmyk", "sixteen", "rotated", "palette")

MME_CATEGORIES = (  # noqa: SIM905
    "OCR artwork celebrity color count existence landmark position posters scene "
    "code_reasoning commonsense_reasoning numerical_calculation text_translation"
).split()


def mme() -> list[dict[str, Any]]:
    rows = []
    for number, category in enumerate(MME_CATEGORIES):
        for answer in ("Yes", "No"):
            rows.append(
                {
                    "question_id": f"{category}/{number:04d}.png",
                    "image": image(number, name=f"{number}.png"),
                    "question": f"Is this {category} {answer}? Please answer yes or no.",
                    "answer": answer,
                    "category": category,
                }
            )
    return rows


def hallusionbench() -> list[dict[str, Any]]:
    places = [("VD", "chart", 0, 0, 0), ("VD", "chart", 0, 0, 1), ("VD", "chart", 0, 1, 0)]
    places += [("VD", "chart", 0, 1, 1), ("VS", "map", 1, 1, 0), ("VS", "map", 1, 2, 0)]
    return [
        {
            "category": category,
            "subcategory": kind,
            "visual_input": "1",
            "set_id": str(group),
            "figure_id": str(figure),
            "sample_note": "circle",
            "question_id": str(question),
            "question": f"Is the left circle larger, question {question}?",
            "gt_answer_details": "They are equal.",
            "gt_answer": str((figure + question) % 2),
            "filename": f"./hallusion_bench/{category}/{kind}/{group}_{figure}.png",
            "image": image(100 + 10 * group + figure),
        }
        for category, kind, group, figure, question in places
    ]


def textvqa() -> list[dict[str, Any]]:
    answers = ["nokia", "nokia", "Nokia.", "the nokia", "noka", "nokia", "", "nokia", "nokia", "phone"]
    return [
        {
            "image_id": f"0054c91397f2fe{number:02d}",
            "question_id": 34602 + number,
            "question": "what is the brand of this camera?",
            "question_tokens": ["what", "is"],
            "image": image(200 + number // 2, KINDS[number % 2]),
            "image_width": 1024,
            "image_height": 664,
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "answers": answers,
            "image_classes": ["Camera"],
            "set_name": "val",
            "ocr_tokens": ["NOKIA"],
        }
        for number in range(4)
    ]


def chartqa() -> list[dict[str, Any]]:
    answers = ["14", "[2013, 2014]", "Yes", "0.57"]
    return [
        {
            "type": "human_test" if number < 2 else "augmented_test",
            "question": "How many food item is shown in the bar graph?",
            "answer": answer,
            "image": image(300 + number),
        }
        for number, answer in enumerate(answers)
    ]


def ai2d() -> list[dict[str, Any]]:
    return [
        {
            "question": "which of these define dairy item",
            "options": ["c", "D", "b", "a"],
            "answer": str(number),
            "image": image(400 + number, KINDS[number]),
        }
        for number in range(4)
    ]


def realworldqa() -> list[dict[str, Any]]:
    letter = "Please answer directly with only the letter of the correct option and nothing else."
    word = "Please answer directly with a single word or number."
    questions = [
        (f"In which direction is the front wheel facing?\n\nA. Left\nB. Straight\nC. Right\n{letter}", "A"),
        (f"How many cars are there?\n{word}", "2"),
        (f"Is A. nearer?\n\nA. None of them\nB. Yes, all\n{letter}", "B"),
        (f"Is it downhill or uphill?\n{word}", "Downhill"),
    ]
    return [
        {
            "image": image(500 + number, "webp"),
            "image_path": f"{number}.webp",
            "question": question,
            "answer": answer,
        }
        for number, (question, answer) in enumerate(questions)
    ]


def pope() -> list[dict[str, Any]]:
    return [
        {
            "id": str(number),
            "question_id": str(number),
            "question": f"Is there a {'dog' if number % 2 else 'snowboard'} in the image?",
            "answer": "yes" if number % 2 else "no",
            "image_source": f"COCO_val2014_{number // 2:012d}",
            "image": image(600 + number // 2),
            "category": category,
        }
        for category in ("adversarial", "popular", "random")
        for number in (1, 2)
    ]


def scienceqa() -> list[dict[str, Any]]:
    return [
        {
            "image": image(700 + number),
            "question": "Which of these states is farthest north?",
            "choices": ["West Virginia", "Louisiana", "Arizona", "Oklahoma"][: 4 - number],
            "answer": number % 2,
            "hint": "" if number % 2 else "Use the map.",
            "task": "closed choice",
            "grade": "grade2",
            "subject": "social science",
            "topic": "geography",
            "category": "Geography",
            "skill": "Read a map: cardinal directions",
            "lecture": "Maps have four cardinal directions.",
            "solution": "To find the answer, look at the compass rose.",
        }
        for number in range(3)
    ]


def mmbench() -> list[dict[str, Any]]:
    options = {241: ["x", "y", "z", None], 252: ["red", "blue", "None", "green"]}
    rows = []
    for question, texts in options.items():
        there = [one for one in texts if one is not None]
        for copy in range(len(there)):
            rolled = there[copy:] + there[:copy]
            cells = dict(zip("ABCD", [*rolled, None, None], strict=False))
            rows.append(
                {
                    "index": str(question + copy * 1_000_000),
                    "question": "Which one is correct?",
                    "hint": "nan" if question == 241 else "The passage says so.",
                    "answer": "ABCD"[rolled.index(there[0])],
                    **{letter: cells.get(letter) for letter in "ABCD"},
                    "category": "identity_reasoning",
                    "image": image(800 + question),
                    "source": "scienceqa",
                    "L2-category": "attribute_reasoning",
                    "comment": "nan",
                    "split": "dev",
                }
            )
    return rows


def mmstar() -> list[dict[str, Any]]:
    questions = [
        "Which option describes the object at A?\nOptions: A: Extra-moist, B: X-large, C: A roll, D: Cap",
        "Find the angle.\nChoices:\n(A) 30\n(B) 45\n(C) 60\n(D) 90",
        "What is it?\nOptions: A: yes, B: no",
        "What comes next? A. one B. two C. three D. four",
    ]
    return [
        {
            "index": number,
            "question": question,
            "image": image(900 + number),
            "answer": "AB"[number % 2],
            "category": "math" if number % 2 else "coarse perception",
            "l2_category": "geometry" if number % 2 else "image emotion",
            "meta_info": {"source": "MMBench", "split": "val", "image_path": f"images/{number}.jpg"},
        }
        for number, question in enumerate(questions)
    ]


def ocrbench() -> list[dict[str, Any]]:
    kinds = [
        ("IIIT5K", "Regular Text Recognition", ["CENTRE"]),
        ("docVQA", "Doc-oriented VQA", ["$161,886", "161886"]),
        ("HME100k", "Handwritten Mathematical Expression Recognition", ["\\frac { 1 } { 2 }"]),
        ("SROIE", "Key Information Extraction", ["1.50"]),
    ]
    return [
        {
            "dataset": dataset,
            "question": "what is written in the image?",
            "question_type": kind,
            "answer": answer,
            "image": image(1000 + number),
        }
        for number, (dataset, kind, answer) in enumerate(kinds)
    ]


def gqa() -> list[dict[str, Any]]:
    return [
        {
            "id": f"2024{number}",
            "imageId": f"n{number // 2}",
            "question": "Is it overcast?",
            "answer": "no" if number % 2 else "yes",
            "fullAnswer": "No, it is clear.",
            "isBalanced": True,
        }
        for number in range(4)
    ]


def gqa_images() -> list[dict[str, Any]]:
    return [{"id": f"n{number}", "image": image(1100 + number, "jpeg")} for number in range(2)]


def vizwiz() -> list[dict[str, Any]]:
    return [
        {
            "question_id": f"VizWiz_val_{number:08d}.jpg",
            "image": image(1200 + number, KINDS[number]),
            "question": "Ok. There is another picture I hope it is a better one.",
            "answers": ["unanswerable"] * 6 + ["pepsi"] * 4,
            "category": "unanswerable",
        }
        for number in range(4)
    ]


def videomme() -> list[dict[str, Any]]:
    return [
        {
            "video_id": f"{number // 2:03d}",
            "duration": ("short", "long")[number // 2],
            "domain": "Knowledge",
            "sub_category": "Humanity & History",
            "url": "",
            "videoID": f"clip{number // 2}",
            "question_id": f"{number // 2:03d}-{number % 2}",
            "task_type": "Counting Problem",
            "question": "What is shown?",
            "options": ["A. x.", "B. y.", "C. z.", "D. w."],
            "answer": "AB"[number % 2],
        }
        for number in range(4)
    ]


def worldsense() -> list[dict[str, Any]]:
    return [
        {
            "index": number,
            "video_path": f"videos/clip{number // 2}.mp4",
            "question": "What is shown?",
            "candidates": ["A. x", "B. y", "C. z", "D. w"][: 4 - number % 2],
            "answer": "AB"[number % 2],
            "task_type": "Event Recognition",
            "task_domain": "Daily Life",
            "duration": ("<1min", ">8min")[number // 2],
            "audio_class": ["Speech"],
        }
        for number in range(4)
    ]


def mlvu() -> list[dict[str, Any]]:
    return [
        {
            "video_name": f"clip{number}.mp4",
            "question": "What is shown?\n(A) x\n(B) y",
            "candidates": ["x", "y"],
            "answer": "AB"[number % 2],
            "task_type": "plotQA",
        }
        for number in range(2)
    ]


def longvideobench() -> list[dict[str, Any]]:
    return [
        {
            "id": f"v_{number}",
            "video_path": f"clip{number}.mp4",
            "correct_choice": number,
            "question": "What is shown?",
            **{f"option{i}": ("x", "y", "z", "N/A", "N/A")[i] for i in range(5)},
            "duration_group": 15,
        }
        for number in range(2)
    ]


# Benchmark → tables: (file in the repository, rows). Arrow's types follow the cards.
TABLES: dict[str, list[tuple[str, Callable[[], list[dict[str, Any]]]]]] = {
    "ai2d": [("data/test-00000-of-00001.parquet", ai2d)],
    "chartqa": [("data/test-00000-of-00001.parquet", chartqa)],
    "gqa": [
        ("testdev_balanced_instructions/testdev-00000-of-00001.parquet", gqa),
        ("testdev_balanced_images/testdev-00000-of-00001.parquet", gqa_images),
    ],
    "hallusionbench": [("data/image-00000-of-00001.parquet", hallusionbench)],
    "longvideobench": [("data/validation-00000-of-00001.parquet", longvideobench)],
    "mlvu": [("data/test-00000-of-00001.parquet", mlvu)],
    "mmbench": [("en/dev-00000-of-00001.parquet", mmbench)],
    "mme": [("data/test-00000-of-00001.parquet", mme)],
    "mmstar": [("mmstar.parquet", mmstar)],
    "ocrbench": [("data/test-00000-of-00001.parquet", ocrbench)],
    "pope": [("data/test-00000-of-00001.parquet", pope)],
    "realworldqa": [("data/test-00000-of-00001.parquet", realworldqa)],
    "scienceqa": [("ScienceQA-IMG/test-00000-of-00001.parquet", scienceqa)],
    "textvqa": [("data/validation-00000-of-00001.parquet", textvqa)],
    "videomme": [("videomme/test-00000-of-00001.parquet", videomme)],
    "vizwiz": [("data/val-00000-of-00001.parquet", vizwiz)],
    "worldsense": [("data/test-00000-of-00001.parquet", worldsense)],
}
# Benchmark → the perfect answer to each of its rows, found by reading them.
PERFECT = {
    "ai2d": ["A", "B", "C", "D"],
    "chartqa": ["14", "2013", "Yes", "0.57"],
    "gqa": ["yes", "no", "yes", "no"],
    "hallusionbench": ["No", "Yes", "Yes", "No", "Yes", "No"],
    "longvideobench": ["A", "B"],
    "mlvu": ["A", "B"],
    "mme": ["Yes", "No"] * 14,
    "mmbench": ["A", "C", "B", "A", "D", "C", "B"],
    "mmstar": ["A", "B", "A", "B"],
    "ocrbench": ["CENTRE", "161886", "\\frac { 1 } { 2 }", "1.50"],
    "pope": ["Yes", "No"] * 3,
    "realworldqa": ["A", "2", "B", "Downhill"],
    "scienceqa": ["A", "B", "A"],
    "textvqa": ["nokia"] * 4,
    "videomme": ["A", "B", "A", "B"],
    "vizwiz": ["unanswerable"] * 4,
    "worldsense": ["A", "B", "A", "B"],
}
PERFECT["ccbench"] = PERFECT["mmbench"]

VIDEOS = ("longvideobench", "mlvu", "videomme", "worldsense")
IMAGES = tuple(name for name in TABLES if name not in VIDEOS)
# What a card declares where file names do not follow from config and split.
CARDS = {"mmstar": "configs:\n- config_name: val\n  data_files:\n  - split: val\n    path: mmstar.parquet\n"}
_NARROW = {"answer": pa.int8()}  # ScienceQA's class label


def schema(name: str, rows: list[dict[str, Any]]) -> pa.Schema:
    fields = []
    for key, value in rows[0].items():
        kind = IMAGE if key == "image" else pa.array([value]).type
        if all(row[key] is None for row in rows):
            kind = TEXT
        elif value is None:
            kind = pa.array([row[key] for row in rows]).type
        fields.append((key, _NARROW[key] if name == "scienceqa" and key in _NARROW else kind))
    return pa.schema(fields)


def write(name: str, folder: Path) -> Path:
    """The benchmark's files as its repository has them. Returns the folder."""
    for file, rows_of in TABLES[name]:
        rows = rows_of()
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema(name, rows)), path)
    (folder / "README.md").write_text(f"---\nlicense: mit\n{CARDS.get(name, '')}---\n# card\n")
    return folder


def as_cache(name: str, repo: str, cache: Path, commit: str = COMMIT) -> Path:
    """The same as a Hub cache holds it, after a download of that commit."""
    root = cache / f"datasets--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return write(name, root / "snapshots" / commit)


def clip(path: Path, number: int, frames: int = 8, size: int = 56) -> Path:
    """A short video; equal numbers give equal files."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8).repeat(size // 2, 0).repeat(size // 2, 1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
