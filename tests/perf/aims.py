"""Aims of a benchmark: a printed line each, which bench.py gathers at the top of its page."""

from __future__ import annotations

PREFIX = "aim | "


def aim(what: str, found: float, unit: str, *, least: float | None = None, most: float | None = None) -> None:
    """Print what was found beside the aim, ``least`` or ``most``, and whether it is reached."""
    reached = (least is None or found >= least) and (most is None or found <= most)
    bounds = [f"at least {least:g}"] if least is not None else []
    bounds += [f"at most {most:g}"] if most is not None else []
    word = "reached" if reached else "not reached"
    print(f"{PREFIX}{what} | {found:.3g} {unit} | {' and '.join(bounds)} {unit} | {word}", flush=True)


def taken_out(printed: str) -> tuple[list[list[str]], str]:
    """The cells of the aims in what a script printed, and the rest."""
    lines = printed.splitlines()
    rows = [line.removeprefix(PREFIX).split(" | ") for line in lines if line.startswith(PREFIX)]
    return rows, "\n".join(line for line in lines if not line.startswith(PREFIX)).strip()


def table(rows: list[list[str]]) -> str:
    """The aims of one script as a Markdown table."""
    head = ["| what | measured | aim | |", "|---|---:|---:|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def counted(page: str) -> str:
    """A sentence that counts the aims in the tables of a page, and names those that are not reached."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.endswith(" reached |")]
    missed = [row[0] for row in rows if row[-1] != "reached"]
    words = f"{len(rows) - len(missed)} of {len(rows)} aims are reached."
    return words + (f" Not reached: {'; '.join(missed)}." if missed else "")
