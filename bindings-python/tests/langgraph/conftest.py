import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `backends` and `graphs`, in any import mode

from backends import BACKENDS, Backend, Home
from store_backends import STORE_BACKENDS, StoreBackend

from sealpoint import Context, Keyring

pytest.register_assert_rewrite("same")

MakeBackend = Callable[..., Backend]


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[Keyring]:
    kek = tmp_path / "kek"
    kek.write_bytes(os.urandom(32))
    kek.chmod(0o600)
    with Keyring.connect(f"sqlite:///{tmp_path / 'keys.db'}", kek=f"file:{kek}") as ring:
        ring.setup()
        yield ring


@pytest.fixture
def keys(keyring: Keyring, tmp_path: Path) -> dict[str, str]:
    """What Node needs for the same keys."""
    keyring.seal(b"", Context(tenant="acme", purpose="test"))
    return {"keys": f"sqlite:///{tmp_path / 'keys.db'}", "kek": f"file:{tmp_path / 'kek'}"}


@pytest.fixture
def make_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeBackend]:
    """Makes a backend with nothing in it. `name` tells several of one kind apart; on Redis a new one empties the one before."""
    home = Home(request, tmp_path)
    with ExitStack() as stack:

        def make(kind: type[Backend], name: str = "state") -> Backend:
            backend = kind(stack.enter_context(kind.home(home, name)))
            stack.callback(backend.close)
            return backend

        yield make


@pytest.fixture(params=BACKENDS, ids=lambda cls: cls.__name__)
def backend(request: pytest.FixtureRequest, make_backend: MakeBackend) -> Backend:
    return make_backend(request.param)


@pytest.fixture(params=STORE_BACKENDS, ids=lambda cls: cls.__name__)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreBackend]:
    dsn = request.getfixturevalue("postgres") if "Postgres" in request.param.__name__ else None
    backend: StoreBackend = request.param(tmp_path / "store.db", dsn)
    yield backend
    backend.close()
