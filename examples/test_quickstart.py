"""The quickstart runs, goes on where it stopped, and leaves nothing to read."""

import os
import subprocess
import sys
from pathlib import Path


def test_quickstart(tmp_path: Path) -> None:
    kek = subprocess.run([sys.executable, "-m", "sealpoint", "keygen"], capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, str(Path(__file__).with_name("quickstart.py"))]
    for greetings in (1, 2):
        environment = {**os.environ, "SEALPOINT_KEK": kek}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str({"name": "Quintavalle", "greetings": greetings})
    for file in tmp_path.iterdir():
        assert b"Quintavalle" not in file.read_bytes()
