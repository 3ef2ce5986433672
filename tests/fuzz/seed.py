"""Makes the seeds of tests/fuzz/corpus from tests/vectors: `python tests/fuzz/seed.py`. Small ones only; the rest a fuzzer finds."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT, MOST = 600, 36
Json = dict[str, Any]


def vectors(file: str) -> list[Json]:
    """The vectors of a file."""
    found: list[Json] = json.loads((HERE.parent / "vectors" / f"{file}.json").read_text())["vectors"]
    return found


def envelopes() -> Iterator[tuple[str, bytes]]:
    """Envelopes, good and bad."""
    for vector in vectors("envelope"):
        if "hex" in vector.get("envelope", {}):
            yield vector["id"], bytes.fromhex(vector["envelope"]["hex"])


def main() -> None:
    """Writes every corpus anew."""
    wraps = [(v["id"], bytes.fromhex(v["wrapped"])) for v in vectors("wrap")]
    texts = [(v["id"], v["text"].encode()) for v in vectors("text")]
    exported = [(v["id"], v["text"].encode()) for v in vectors("exported-key") if "text" in v]
    exported += [(f"{v['id']}-bytes", bytes.fromhex(v["bytes_hex"])) for v in vectors("exported-key") if "bytes_hex" in v]
    contexts = [(v["id"], bytes.fromhex(v.get("canonical_hex", ""))) for v in vectors("context") if "canonical_hex" in v]
    lines = b"ns t \nthread t t-1\nversion i 3\nstep f 0.5\nlist t 5:hello,\nbig i 18446744073709551615"
    records = [(v["id"], bytes.fromhex(v["record_hex"])) for v in vectors("manifest") if "record_hex" in v]
    payloads = [(name, len(record).to_bytes(4, "big") + record + b"rest") for name, record in records]
    payloads += [(v["id"], bytes.fromhex(v["payload_hex"])) for v in vectors("manifest") if v["op"] == "split"]
    corpora = {
        "parse_envelope": [*wraps[:12], *envelopes(), *texts[:4]],
        "context": [("pairs", lines), *contexts],
        "manifest": [("channels", b"\x03alphabeta.gamma"), *payloads],
        "open": [("changes", b"\x01\x00\x20\x00\x40\x01\xff"), ("cut", b"\x02\x40\x00\x01\x02\x00\xff"), *envelopes()],
        "text": [*texts, *exported],
        "differential": [("three-chunks", bytes(range(90)) + b"\xff"), *envelopes()],
    }
    for target, seeds in corpora.items():
        folder = HERE / "corpus" / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        small = [(name, data) for name, data in seeds if len(data) <= LIMIT]
        # Evenly from the whole list, since neighbours are alike.
        for index in range(min(MOST, len(small))):
            name, data = small[index * len(small) // min(MOST, len(small))]
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
