"""``python -m hawk`` is the same as ``hawk``."""

from hawk.cli import main

main()
