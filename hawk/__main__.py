"""``python -m hawk`` is the same as ``hawk``."""

from hawk.cli.main import main

main()
