"""The command line: one subcommand per step of the workflow, and a few for people.

Every workflow rule calls one of these, so every job can be run by hand. Heavy imports happen
inside the commands: ``hawk --help`` imports neither torch nor transformers.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import NoReturn

import click

from hawk.cli import analysis, generate, steps, tools
from hawk.core.errors import InputError
from hawk.tools import warm


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="hawk-vlm", message="hawk %(version)s")
def cli() -> None:
    """Head-importance-aware visual token pruning for multimodal LLMs.

    The whole pipeline is a Snakemake workflow: snakemake --cores 2. The commands below are its
    steps, and tools for people.
    """


for _command in (*steps.COMMANDS, *analysis.COMMANDS, *tools.COMMANDS, *generate.COMMANDS):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line; a user's mistake ends with its reason as the last line, and code 1."""
    try:
        done = warm.delegate(sys.argv[1:])
    except KeyboardInterrupt:
        done = _interrupted()
    if done is not None:
        os._exit(done)
    # A third of a job's start-up is garbage collection while torch is imported: it is off until
    # the model is loaded (hawk.scoring.load_for).
    gc.disable()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    code = 0
    try:
        # Outside its standalone mode click returns the code of ``Exit``, and does not raise it.
        code = cli.main(prog_name="hawk", standalone_mode=False) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = _interrupted()
    except Exception as error:
        logging.getLogger("hawk").exception("unexpected error")
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    # Everything is written and closed. Skipping the interpreter's own shutdown saves most of a
    # second of a job that has torch loaded.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _interrupted() -> int:
    print("error: interrupted; nothing was half-written.", file=sys.stderr)
    return 130
