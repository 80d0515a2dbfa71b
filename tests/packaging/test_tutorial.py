"""docs/tutorial.ipynb runs from top to bottom, and says what it said when it was written."""

from __future__ import annotations

import copy
from typing import Any

import nbformat
from conftest import ROOT
from nbclient import NotebookClient

PATH = ROOT / "docs" / "tutorial.ipynb"


def said(book: Any) -> list[str]:
    """What every cell prints or evaluates to, pictures and progress left out."""
    found = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stdout":
                found.append(output.text)
            elif output.output_type == "execute_result" and "image/png" not in output.data:
                found.append(output.data["text/plain"])
    return found


def run(book: Any) -> Any:
    book = copy.deepcopy(book)
    NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    return book


def test_the_tutorial_runs_and_says_the_same() -> None:
    stored = nbformat.read(PATH, as_version=4)
    assert len(said(stored)) >= 7  # it is stored with what it says
    assert said(run(stored)) == said(stored)
