"""Section 1: a key, and what is where."""

import stat
import subprocess
import sys

from demo_parts.agents import Files, keyring
from demo_parts.checks import expect
from demo_parts.screen import Screen


def show(screen: Screen, files: Files, kept: bool) -> None:
    screen.heading("1. Keys")
    make_kek(files)
    mode = stat.S_IMODE(files.kek.stat().st_mode)
    expect(mode == 0o600, f"the KEK's file has mode {mode:03o}, not 600")
    with keyring(files) as keys:
        keys.setup()
        expect(keys.health().status == "ok", "the keyring is not healthy")
    screen.say(f"Everything is in {files.folder}, {'and stays there' if kept else 'until the demo ends'}.")
    for file, what in (
        ("kek.b64", f"the KEK, the one secret: 32 random bytes from `sealpoint keygen --file`, mode {mode:03o}"),
        ("keys.db", "the key store: each tenant's data key (DEK), wrapped by the KEK; of no use without it"),
        ("state.db", "what LangGraph's own SqliteSaver writes, inside a SealedSaver"),
    ):
        screen.entry(file, what, label_width=8)


def make_kek(files: Files) -> None:
    """The command that an operator would run."""
    subprocess.run([sys.executable, "-m", "sealpoint", "keygen", "--file", str(files.kek)], check=True)
