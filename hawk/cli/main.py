"""The command line: one subcommand per step of the workflow, and a few for people.

Every workflow rule calls one of these, so every job can be run by hand. Heavy imports happen
inside the commands: ``hawk --help`` imports neither torch nor transformers.
"""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import click

from hawk.cli import analysis, export, generate, integrations, steps, tools
from hawk.core import extras
from hawk.core.errors import InputError
from hawk.tools import warm


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="hawk-vlm", message="hawk %(version)s")
def cli() -> None:
    """Head-importance-aware visual token pruning for multimodal LLMs.

    The whole pipeline is a Snakemake workflow: snakemake --cores 2. The commands below are its
    steps, and tools for people.
    """


for _command in (
    *steps.COMMANDS,
    *analysis.COMMANDS,
    *tools.COMMANDS,
    *export.COMMANDS,
    *generate.COMMANDS,
    *integrations.COMMANDS,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line in a process of its own; a user's mistake ends with its reason, and code 1."""
    warm.run(command_line)


def command_line() -> int:
    """Run the command that ``sys.argv`` names; returns the exit code. Errors are one line on stderr."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    for name in ("httpx", "httpx2"):  # of huggingface_hub: a line for every request
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        # Outside its standalone mode click returns the code of ``Exit``, and does not raise it.
        return cli.main(prog_name="hawk", standalone_mode=False) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return warm.interrupted()
    except Exception as error:
        missing = extras.explain(error)
        if missing is None:
            logging.getLogger("hawk").exception("unexpected error")
        print(f"error: {missing or f'{type(error).__name__}: {error}'}", file=sys.stderr)
    return 1
