"""The command line: one subcommand per step of the workflow, and a few for people.

Every workflow rule calls one of these, so every job can be run by hand. Heavy imports happen
inside the commands: ``hawk --help`` imports neither torch nor transformers.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
from typing import NoReturn

import click

from hawk.cli import analysis, export, generate, integrations, steps, tools
from hawk.core import extras
from hawk.core.errors import InputError
from hawk.core.values import one_line
from hawk.tools import warm

MISTAKE = 2  # exit code of a user's mistake, as click's own; a disk or a machine that fails gives 1
# Of a path that the user gave; what no disk is to blame for.
PATHS = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ENOENT)
DISK = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the operation is not permitted",
    errno.EIO: "the disk reports an error",
    errno.EISDIR: "a folder is where a file should be",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "there is no such file or folder",
    errno.EMFILE: "too many files are open",
    errno.EFBIG: "the file is too large",
}


def disk_reason(error: BaseException | None) -> str | None:
    """What a failed read or write means, with its file; None for another error.

    Libraries wrap the system's error in their own (safetensors, pyarrow): its cause, or its words, tell.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            where = f"{error.filename}: " if error.filename is not None else ""
            return f"{where}{DISK[error.errno]}."
        number = re.search(r"(?:os error|[Ee]rrno|code:) (\d+)", str(error))
        if number and int(number[1]) in DISK:
            return f"{DISK[int(number[1])]} ({str(error).splitlines()[0]})."
        error = error.__cause__ or error.__context__
    return None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="hawk-vlm", message="hawk %(version)s")
def cli() -> None:
    """Head-importance-aware visual token pruning for multimodal LLMs.

    The whole pipeline is a Snakemake workflow: hawk run --cores 2. The commands below are the
    steps of that workflow, and tools to use beside it.
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
    """Run the command line in a process of its own; a user's mistake ends with its reason, and code 2."""
    warm.run(command_line)


def command_line() -> int:
    """Run the command that ``sys.argv`` names; returns the exit code. Errors are one line on stderr."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    for name in ("httpx", "httpx2"):  # of huggingface_hub: a line for every request
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").propagate = False  # prints by itself; every line would come twice
    try:
        # Outside its standalone mode click returns the code of ``Exit``, and does not raise it.
        return cli.main(prog_name="hawk", standalone_mode=False) or 0
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return MISTAKE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if context is not None:
            print(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", file=sys.stderr)
        print(f"Error: {one_line(error.format_message())}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return warm.interrupted()
    except Exception as error:
        missing = extras.explain(error)
        known = missing or disk_reason(error)
        if known is None:
            logging.getLogger("hawk").exception("unexpected error")
        print(f"error: {one_line(known or f'{type(error).__name__}: {error}')}", file=sys.stderr)
        if missing or (isinstance(error, OSError) and error.errno in PATHS):
            return MISTAKE
    return 1
