"""Runs one worked scoring case (tests/data/metric_cases.json) against our code.

A case gives an input, and what the real function of a harness made of it. Here it goes through the
benchmark classes wherever they have that rule, and gives what they make of it in the same form.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from hawk.benchmarks import REGISTRY, benchmark
from hawk.benchmarks.base import Benchmark, Sample
from hawk.benchmarks.bases.dataset import LEVEL
from hawk.benchmarks.bases.multiple_choice import LETTERS, with_hint
from hawk.benchmarks.rules import choices, metrics, normalise
from hawk.benchmarks.rules.metrics import listed
from hawk.benchmarks.rules.protocols import LMMS_EVAL, MS_VLMEVAL, VLMEVALKIT
from hawk.tools import prediction_files as predictions

Case = dict[str, Any]


def name_of(case: Case) -> str:
    """Our name of a case's benchmark: "ChartQA_TEST", "gqa (registered exact_match)", "mmbench_en_dev" …"""
    letters = re.sub(r"[^a-z0-9]", "", case["benchmark"].lower())
    return max((one for one in REGISTRY if letters.startswith(one)), key=len, default=letters)


def protocols_of(case: Case) -> list[str]:
    """The protocols that a case holds for."""
    found = {
        "VLMEvalKit": VLMEVALKIT,
        "ms-vlmeval": MS_VLMEVAL,
        "lmms-eval": LMMS_EVAL,
        "lmms_eval": LMMS_EVAL,
    }
    names = [protocol for one in case["harness"] for key, protocol in found.items() if one.startswith(key)]
    return list(dict.fromkeys(names)) or [VLMEVALKIT]


def run(case: Case, protocol: str) -> Any:
    """What our code makes of the case's input, in the form of ``expected``."""
    name, level = case["benchmark"], case["level"]
    if level == "prompt":
        return _prompt(case, protocol)
    if name == "VQA-normalise":
        form = normalise.evalai_text if protocol == LMMS_EVAL else normalise.vqa_text
        return form(case["prediction"])
    if name == "MCQ letter inference":
        return _letter(case, protocol)
    for start, answer in _SPECIAL.items():
        if name.startswith(start):
            return answer(case, protocol)
    key = name_of(case)
    if key == "hallusionbench" and protocol == LMMS_EVAL:
        return _substring_hallusion(case)
    bench = benchmark(key, {"protocol": protocol})
    if level == "aggregate" or level == "derived":
        return _aggregate(bench, case, protocol)
    if level == "extract":
        return _extract(bench, case, protocol)
    return _item(bench, case, protocol)


def same(found: Any, expected: Any) -> bool:
    """Equal; numbers within rounding; of a report, the entries that the case lists."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            key in found and same(found[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return found is not None and math.isclose(float(found), expected, abs_tol=1e-6)
    return found == expected


# --- one answer ---------------------------------------------------------------------------------
def sample_of(references: Any, **fields: Any) -> Sample:
    values = {"sample_id": "0", "group_id": "g", "question": "", "references": listed(references)}
    return Sample(**{**values, **fields})


def scored(bench: Benchmark, prediction: str, sample: Sample, protocol: str) -> tuple[str | None, float]:
    parsed = bench.parse(prediction, sample, protocol)
    return parsed, 0.0 if parsed is None else bench.score(parsed, sample, protocol)


def _item(bench: Benchmark, case: Case, protocol: str) -> Any:
    prediction, references, expected = case["prediction"], case["references"], case["expected"]
    if bench.name == "chartqa":
        answer = references["answer"] if isinstance(references, dict) else references
        _, score = scored(bench, prediction, sample_of([answer]), protocol)
        return dict.fromkeys(expected, score) if isinstance(expected, dict) else score
    if bench.name == "ocrbench":
        formula = any(word in (case.get("note") or "") for word in ("Handwritten Math", "HME100k"))
        category = "Handwritten Mathematical Expression Recognition" if formula else "Doc-oriented VQA"
        return scored(bench, prediction, sample_of(references, category=category), protocol)[1]
    if bench.name == "mlvu":
        options = {"A": "one", "B": "two", "C": "three", "D": "four"}
        letter, content = references[1], references[4:]
        options[letter] = content
        sample = sample_of([letter], options=tuple(options.values()))
        return bool(scored(bench, prediction, sample, protocol)[1])
    if isinstance(references, dict):
        options = listed(references["candidates"])
        sample = sample_of([references["answer"]], options=options, question=references["question"])
        return scored(bench, prediction, sample, protocol)[1]
    options = ("one", "two", "three", "four") if bench.name in ("ai2d", "scienceqa") else ()
    return scored(bench, prediction, sample_of(references, options=options), protocol)[1]


def _extract(bench: Benchmark, case: Case, protocol: str) -> Any:
    options = tuple(case["references"] or ("A. one", "B. two", "C. three", "D. four"))
    parsed = bench.parse(case["prediction"], sample_of([], options=options), protocol)
    if bench.name == "mme":
        return "other" if parsed is None else parsed.lower()
    return parsed or ""


def _letter(case: Case, protocol: str) -> Any:
    if protocol == LMMS_EVAL:
        return choices.extract_option(case["prediction"], case["references"]) or ""
    plain = protocol == MS_VLMEVAL
    return choices.infer_option(case["prediction"], case["references"], plain) or False


def _yes_no(case: Case, protocol: str) -> str:
    return metrics.yes_or_no(case["prediction"])


def _anls(case: Case, protocol: str) -> float:
    return metrics.anls(case["prediction"], case["references"], raw_length=protocol == MS_VLMEVAL)


# --- tables -------------------------------------------------------------------------------------
def _rows(bench: Benchmark, case: Case, protocol: str) -> pd.DataFrame:
    """Predictions and the case's rows as a score table."""
    rows = []
    for number, (prediction, line) in enumerate(zip(case["prediction"], case["references"], strict=True)):
        sample = _sample(bench, line, number)
        if isinstance(prediction, str):
            parsed, score = scored(bench, prediction, sample, protocol)
        else:
            parsed, score = None, float(prediction)
        if score >= 0:  # upstream's -1: no prediction; not counted
            rows.append((sample.sample_id, parsed, score, sample.metric_group, sample.category))
    columns = ["sample_id", "parsed", "score", "metric_group", "category"]
    return pd.DataFrame(rows, columns=columns)


def _sample(bench: Benchmark, line: Any, number: int) -> Sample:
    if not isinstance(line, dict):
        if bench.name == "pope":
            answer = line.capitalize()
            categories = ("adversarial", "popular", "random")
            return sample_of([answer], category=f"{categories[number % 3]}{LEVEL}{answer}")
        return sample_of(line, sample_id=str(number))
    answer = line.get("answer", "")
    fields: dict[str, Any] = {"sample_id": str(line.get("index", number))}
    options = [line[letter] for letter in LETTERS if letter in line]
    if bench.name == "mme":
        pair = line.get("image_path") or line["question_id"]
        fields |= {"category": line["category"], "metric_group": f"{line['category']}/{pair}#2"}
    elif bench.name == "hallusionbench":
        fields["category"] = LEVEL.join([line["category"], line["l2_category"]])
        fields["metric_group"] = line["l2_category"]
    elif bench.name == "pope":
        fields["category"] = LEVEL.join([line["category"], answer])
    elif bench.name == "mmbench":
        options = options or ["apple", "banana", "cherry", "date"]
        fields["category"] = LEVEL.join([line.get("category", "c"), line.get("l2-category", "l")])
        fields["metric_group"] = f"{line['index'] % 1_000_000}#4"
    elif bench.name == "videomme":
        fields["category"] = LEVEL.join([line["duration"], line.get("domain", "")])
    elif bench.name == "worldsense":
        fields["category"] = line["duration"]
    elif bench.name == "chartqa":
        return sample_of([answer], category=line["split"], **fields)
    elif bench.name == "mlvu":
        fields["category"] = line["task_type"]
    elif "category" in line:
        parts = (line["category"], line.get("l2-category") or line.get("l2_category"))
        fields["category"] = LEVEL.join(one for one in parts if one)
    return sample_of(answer, options=tuple(options), **fields)


def _aggregate(bench: Benchmark, case: Case, protocol: str) -> Any:
    rows, expected = _rows(bench, case, protocol), case["expected"]
    if case["level"] == "derived":
        return bench.aggregate(rows)
    if bench.name in ("videomme", "worldsense") and isinstance(expected, dict):
        report = bench.report(rows)
        return {key: f"{report[key] / 100:.3f}" if key in report else "nan" for key in expected}
    if bench.name == "pope" and protocol == LMMS_EVAL:
        report = bench.report(rows)["Overall"]
        yes = rows["category"].str.endswith("Yes").mean()
        values = {"f1": report["Overall"], "accuracy": report["acc"], "yes_ratio": 100 * yes}
        values |= {key: report[key] for key in ("precision", "recall")}
        return {key: value / 100 for key, value in values.items()}
    if bench.name == "pope":
        return {name: {"Overall_F1": part["Overall"], **part} for name, part in bench.report(rows).items()}
    if bench.name == "mmstar" and protocol == LMMS_EVAL:
        first = rows["category"].str.split(LEVEL).str[0]
        by_category = {one: bench.aggregate(rows[first == one]) / 100 for one in first.unique()}
        return {"average": bench.aggregate(rows) / 100, **by_category}
    if bench.name == "mmbench" and protocol == LMMS_EVAL:
        report = bench.report(rows)
        return {
            "overall": report["Overall"],
            "category": {"c": report["c"]},
            "l2": {"l": report["l"]},
        }
    if isinstance(expected, dict) and set(expected) <= {"none", "test", "dev"}:
        return {split: bench.report(rows) for split in expected}
    if isinstance(expected, dict):
        return bench.report(rows)
    return bench.report(rows)["Overall"] if bench.name == "mme" else bench.aggregate(rows)


def _substring_hallusion(case: Case) -> dict[str, float]:
    """lmms-eval's rule without a judge, which its task does not use: "yes" anywhere is a yes."""
    bench = benchmark("hallusionbench")
    rows = []
    for prediction, line in zip(case["prediction"], case["references"], strict=True):
        keys = (line[key] for key in ("category", "subcategory", "set_id", "figure_id", "question_id"))
        right = ("yes" in prediction.lower()) == (line["gt_answer"] == "1")
        rows.append(("_".join(["x", *keys]), float(right), line["subcategory"], line["category"]))
    table = pd.DataFrame(rows, columns=["sample_id", "score", "metric_group", "category"])
    return {key: value / 100 for key, value in bench.report(table)["Overall"].items()}


# --- prompts ------------------------------------------------------------------------------------
def _prompt(case: Case, protocol: str) -> str:
    key = name_of(case)
    row = case["prediction"]
    style = "qwen" if case.get("variant") == "qwen_custom" else "default"
    bench = benchmark(key, {"prompt": style})
    options = [row[letter] for letter in LETTERS if row.get(letter)]
    options = options or row.get("choices") or row.get("options") or row.get("candidates") or []
    options = options or [row[f"option{i}"] for i in range(5) if row.get(f"option{i}", "N/A") != "N/A"]
    question = row["question"]
    if key == "mlvu":
        question, _, rest = question.partition("\n(A)")
        options = [one.split(") ", 1)[1] for one in f"(A){rest}".split("\n")]
    sample = sample_of([], question=with_hint(row.get("hint"), question), options=tuple(options))
    if protocol == LMMS_EVAL:
        if key == "hallusionbench":  # refused for its judge; its prompt is the question alone
            return benchmark(key).prompt(sample, VLMEVALKIT)
        if key == "longvideobench":  # refused for its subtitles; without them it only ends in a new line
            return bench.prompt(sample, VLMEVALKIT) + "\n"
        return bench.prompt(sample, protocol)
    return f"<image>{bench.prompt(sample, protocol)}"


# --- sizes, frames, files -----------------------------------------------------------------------
def _size(case: Case, protocol: str) -> Any:
    """The processor's own function: what a run does."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    image, limits = case["prediction"], case["references"]
    sides = image["height"], image["width"]
    try:
        height, width = smart_resize(
            *sides,
            factor=limits["factor"],
            min_pixels=limits["min_pixels"],
            max_pixels=limits["max_pixels"],
        )
    except ValueError:
        return "ValueError"
    return {"height": height, "width": width, "visual_tokens": height * width // 28**2}


def _round_trip(case: Case, protocol: str) -> list[str]:
    """Written to xlsx, then read by our reader of the harness's files.

    ms-vlmeval lets its writer make formulas of texts that begin with "="; their stored value is 0.
    """
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["prediction"])
    for number, text in enumerate(case["prediction"], start=2):
        cell = book.active.cell(row=number, column=1, value=text)
        if text.startswith("=") and protocol == MS_VLMEVAL:
            cell.value = 0
        else:
            cell.data_type = "s"
    file = io.BytesIO()
    book.save(file)
    file.seek(0)
    return list(predictions.read_xlsx(file)["prediction"])


_SPECIAL: dict[str, Callable[[Case, str], Any]] = {
    "DocVQA": _anls,
    "Y/N extraction": _yes_no,
    "Qwen2.5-VL smart_resize": _size,
    "prediction file round trip": _round_trip,
}
