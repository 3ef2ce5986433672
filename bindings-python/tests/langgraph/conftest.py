import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `backends` and `graphs`, in any import mode

from backends import BACKENDS, Backend

from sealpoint import Keyring


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[Keyring]:
    kek = tmp_path / "kek"
    kek.write_bytes(os.urandom(32))
    kek.chmod(0o600)
    with Keyring.connect(f"sqlite:///{tmp_path / 'keys.db'}", kek=f"file:{kek}") as ring:
        ring.setup()
        yield ring


@pytest.fixture(params=BACKENDS, ids=lambda cls: cls.__name__)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    backend: Backend = request.param(tmp_path / "state.db")
    yield backend
    backend.close()
