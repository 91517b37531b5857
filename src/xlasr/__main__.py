"""``python -m xlasr`` is the program ``xlasr``."""

from xlasr.cli import main

main()
