"""Puts this folder on the path, as `python examples/demo.py` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
