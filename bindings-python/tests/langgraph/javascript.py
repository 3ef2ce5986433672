"""LangGraph JS, run by Node: the application of another language on the same database."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[3] / "bindings-node"
PROGRAMS = PACKAGE / "test" / "langgraph"
SECRET = "a diagnosis nobody may read"


def node(program: str, **question: Any) -> str:
    """What a program of the npm package's tests prints. It gets its question as JSON."""
    if shutil.which("node") is None or not (PACKAGE / "node_modules").is_dir() or not (PACKAGE / "dist").is_dir():
        pytest.skip("needs Node and the npm package, built: make build")
    done = subprocess.run(
        ["node", str(PROGRAMS / program), json.dumps(question)], cwd=PACKAGE, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def threads(saver: str, url: str, **options: Any) -> str:
    """Has LangGraph JS leave threads. Sealed with `keys` and `kek`, else bare."""
    return node("threads.mjs", saver=saver, url=url, secret=SECRET, **options)
