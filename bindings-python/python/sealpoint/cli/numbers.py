"""Numbers on the command line."""

from __future__ import annotations

import argparse

MAX_DAYS = 36_500


def days(text: str) -> int:
    """A number of days, at least one."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"a number of days from 1 to {MAX_DAYS}")
    return int(text)
