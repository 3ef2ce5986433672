"""Makes tests/vectors/*.json and FROZEN.sha256 from the reference.

`--check` compares what it makes with the committed files, byte for byte. `--write` adds new vectors and refuses to
change or remove one that FROZEN.sha256 lists: a committed vector never changes.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from vector_cases import build_all, check

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
FROZEN = "FROZEN.sha256"
Json = dict[str, Any]


def digest(vector: Json) -> str:
    """README, frozen vectors: SHA-256 of the JSON with sorted keys, no spaces, and ASCII only."""
    return hashlib.sha256(json.dumps(vector, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def frozen_lines(files: dict[str, Json]) -> dict[str, str]:
    """README, frozen vectors: digest by `FILE/ID`."""
    return {
        f"{name.removesuffix('.json')}/{vector['id']}": digest(vector) for name, content in files.items() for vector in content["vectors"]
    }


def parse_frozen(text: str) -> dict[str, str]:
    """The lines of FROZEN.sha256."""
    return {name: value for value, name in (line.split("  ", 1) for line in text.splitlines())}


def make() -> dict[str, bytes]:
    """Every generated file by name. Each vector is run through the reference's own opener first."""
    files = {f"{file.name}.json": file.content() for file in build_all()}
    checker = check.Checker(files)
    for name, content in files.items():
        for vector in content["vectors"]:
            checker.run(name, vector)
    out = {name: _dump(content) for name, content in files.items()}
    lines = frozen_lines(files)
    out[FROZEN] = "".join(f"{value}  {name}\n" for name, value in lines.items()).encode()
    return out


def _dump(content: Json) -> bytes:
    """One vector on each line, so that a diff shows additions only."""
    head = {key: value for key, value in content.items() if key != "vectors"}
    vectors = ",\n  ".join(json.dumps(vector) for vector in content["vectors"])
    return (json.dumps(head, indent=1)[:-2] + f',\n "vectors": [\n  {vectors}\n ]\n}}\n').encode()


def broken_promises(made: dict[str, bytes]) -> list[str]:
    """The committed vectors that are changed or missing in what was made."""
    path = VECTORS / FROZEN
    old = parse_frozen(path.read_text()) if path.exists() else {}
    new = parse_frozen(made[FROZEN].decode())
    return [f"{'changed' if name in new else 'removed'}: {name}" for name in old if new.get(name) != old[name]]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="compare with the committed files")
    mode.add_argument("--write", action="store_true", help="add new vectors")
    args = parser.parse_args()
    made = make()
    broken = broken_promises(made)
    if args.check:
        differing = [name for name, data in made.items() if not _is(VECTORS / name, data)]
        extra = sorted({path.name for path in VECTORS.glob("*.json")} - made.keys())
        problems = [*broken, *(f"differs: {name}" for name in differing), *(f"not generated: {name}" for name in extra)]
        print("\n".join(problems) or f"{len(made)} files as generated")
        return 1 if problems else 0
    if broken:
        print("\n".join(broken), "a committed vector never changes: nothing written", sep="\n", file=sys.stderr)
        return 1
    for name, data in made.items():
        (VECTORS / name).write_bytes(data)
    print(f"{len(parse_frozen(made[FROZEN].decode()))} vectors in {len(made) - 1} files")
    return 0


def _is(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


if __name__ == "__main__":
    sys.exit(main())
