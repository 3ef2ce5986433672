"""Numbers on the command line."""

from __future__ import annotations

import argparse

MAX_DAYS = 36_500
MAX_SECONDS = 86_400 * MAX_DAYS


def days(text: str) -> int:
    """A number of days, at least one."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"a number of days from 1 to {MAX_DAYS}")
    return int(text)


def seconds(text: str) -> int:
    """A number of seconds, at least one."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_SECONDS:
        raise argparse.ArgumentTypeError("a number of seconds")
    return int(text)
