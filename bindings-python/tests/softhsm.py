"""SoftHSM2, a real token in software, with a folder of its own: Debian's package, or SEALPOINT_TEST_SOFTHSM, where one was unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

PIN, SO_PIN, TOKEN = "pin-nobody-may-see", "so-pin-nobody-may-see", "sealpoint tests"
ROOT = Path(os.environ.get("SEALPOINT_TEST_SOFTHSM", "/"))
LIBRARY = ROOT / "usr/lib/softhsm/libsofthsm2.so"
UTIL = ROOT / "usr/bin/softhsm2-util"


class SoftHsm:
    """A token in a folder that `close` removes. A process reads the list of tokens once, so there is one for all tests."""

    def __init__(self, conf: str = "") -> None:
        if not (LIBRARY.exists() and UTIL.exists()):
            pytest.skip("SoftHSM2 is not installed: apt install softhsm2")
        self.folder = Path(tempfile.mkdtemp(prefix="sealpoint-softhsm-"))
        (self.folder / "tokens").mkdir()
        self.conf = self.folder / "softhsm2.conf"
        self.conf.write_text(f"directories.tokendir = {self.folder}/tokens\nlog.level = ERROR\nlibrary.reset_on_fork = true\n{conf}\n")
        self.env = {**os.environ, "SOFTHSM2_CONF": str(self.conf), "SOFTHSM_PIN": PIN}
        subprocess.run(
            [UTIL, "--module", LIBRARY, "--init-token", "--free", "--label", TOKEN, "--so-pin", SO_PIN, "--pin", PIN],
            env=self.env,
            check=True,
            capture_output=True,
        )

    def close(self) -> None:
        shutil.rmtree(self.folder)


def uri(label: str, **changes: str) -> str:
    path = {"token": TOKEN.replace(" ", "%20"), "object": label}
    query = {"module-path": str(LIBRARY), "pin-source": "env:SOFTHSM_PIN"}
    for key, value in changes.items():
        name = key.replace("_", "-")
        (query if name in query else path)[name] = value
    return f"pkcs11:{';'.join(f'{k}={v}' for k, v in path.items() if v)}?{'&'.join(f'{k}={v}' for k, v in query.items() if v)}"
