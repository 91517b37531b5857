"""Reporting: evaluation beside the base, tables for the terminal, ``report.html``."""
