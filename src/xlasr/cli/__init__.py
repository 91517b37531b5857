"""Command line: one command per verb; each calls one public function."""

from xlasr.cli.app import app, main

__all__ = ["app", "main"]
