"""Orders on stdin, one JSON a line: what to `do`, the files that it is about, and where the answer goes. `done` for each."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Operation = Callable[[Json, Json], Any]


def serve(vectors: Callable[[Json], Json], seal: Operation, open_: Operation) -> None:
    """Answers until stdin ends. `seal` takes the cases and one of them, `open_` the cases and one with a job's changes."""
    for line in sys.stdin:
        order = json.loads(line)
        given = {name: json.loads(Path(order[name]).read_text()) for name in ("cases", "jobs", "built") if name in order}
        match order["do"]:
            case "vectors":
                answer = vectors(given["built"])
            case "seal":
                cases = given["cases"]
                answer = {case["id"]: seal(cases, case) for case in cases["cases"] if case["op"] in order["ops"]}
            case "open":
                cases = given["cases"]
                by_id = {case["id"]: case for case in cases["cases"]}
                answer = {job["id"]: open_(cases, {**by_id[job["case"]], **job}) for job in given["jobs"] if job["op"] in order["ops"]}
            case what:
                raise ValueError(f"no such order: {what}")
        Path(order["out"]).write_text(json.dumps(answer))
        print("done", flush=True)
