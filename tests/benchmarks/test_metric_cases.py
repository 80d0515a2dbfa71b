"""Every worked case of the real harnesses, named by its id. HAWK_METRIC_CASES names a further file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from worked_cases import protocols_of, run, same

FILE = Path(__file__).parents[1] / "data" / "metric_cases.json"


def _cases():
    files = [FILE, *filter(None, [os.environ.get("HAWK_METRIC_CASES")])]
    for file in files:
        for case in json.loads(Path(file).read_text(encoding="utf-8")):
            for protocol in protocols_of(case):
                yield pytest.param(case, protocol, id=f"{case['id']}-{protocol}")


@pytest.mark.parametrize(("case", "protocol"), list(_cases()))
def test_case(case, protocol):
    found = run(case, protocol)
    assert same(found, case["expected"]), (
        f"{case['benchmark']} {case['level']} {case['prediction']!r} {case['references']!r}: "
        f"found {found!r}, {case['source']} gives {case['expected']!r}"
    )


def test_all_cases_are_there():
    cases = json.loads(FILE.read_text(encoding="utf-8"))
    assert len({case["id"] for case in cases}) == len(cases) == 310
