"""Puts the workflow into the wheel, beside the package, without a second copy of it in the repository.

And makes the package index's page from the README, whose pictures and links are relative to the clone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

# What `hawk.core.shipped` finds: beside the package in a clone, under hawk/workflow in a wheel.
SHIPPED = ("Snakefile", "rules", "config", "profiles", "data", "environment.yml")


class Workflow(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":  # there the files are used where they lie
            root = Path(self.root)
            build_data["force_include"].update(
                {str(root / name): f"hawk/workflow/{name}" for name in SHIPPED}
            )


class Readme(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = absolute(text, metadata["urls"].get("Repository"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str | None) -> str:
    """Markdown whose relative links and pictures lead to a repository on GitHub.

    Without a repository their words are left: a link that leads nowhere is worse than none.
    """

    def target(found: re.Match[str]) -> str:
        picture, words, place = found.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{words}]({repository}/{kind}/main/{place})" if repository else words

    return re.sub(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)]*)\)", target, text)
