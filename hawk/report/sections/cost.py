"""The report's section on measured cost."""

from __future__ import annotations

from hawk.analysis.cost import conditions, cost_table
from hawk.report import columns
from hawk.report.page import escape
from hawk.report.pictures import section_pictures
from hawk.report.run import Run
from hawk.report.tables import html_table


def cost(run: Run) -> str:
    if run.cost is None:
        return ""
    curve = section_pictures(run, "cost")
    listed = html_table(columns.COST, cost_table(run.cost).to_dict("records"))
    note = (
        "Medians over repeats. A speed-up is the median ratio to the unpruned model in the same repeat, with "
        "its 95 % interval over repeats, or their whole range where there are fewer than 6. Noise: the "
        "interval contains ×1.00, so that the variant may be as fast as the unpruned model. "
        f"Token score is the time that pruning adds before the prefill. {conditions(run.cost_made)}"
    )
    return f'{curve}<p class="soft">{escape(note)}</p>' + listed
