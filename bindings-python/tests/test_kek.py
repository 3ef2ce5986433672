"""Where a KEK comes from, and what is refused before anything is connected."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import CONTEXT, KEK_TEXT, OTHER_KEK_TEXT, PLAINTEXT, FakeKms, assert_error, ready

from sealpoint import InvalidArgumentError, Keyring, MissingDependencyError, ProviderCapabilities, SealpointError
from sealpoint._native import SecretKey, secrets_equal, wrap_context
from sealpoint.kms import KeyManagementProvider, provider_from_uri, scheme_of
from sealpoint.kms.local import EnvProvider, FileProvider

KEK = base64.b64decode(KEK_TEXT)
WRAP = wrap_context(tenant="t", dek_id=bytes(16), dek_purpose=1, suite=1)


def private(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return f"file:{path}"


def refused(kek: Any, code: str, *words: str) -> str:
    with pytest.raises(SealpointError) as caught:
        Keyring.connect("memory:", kek=kek)
    assert_error(caught.value, code, *words)
    return str(caught.value)


@pytest.mark.parametrize("text", [KEK_TEXT, KEK_TEXT.rstrip("="), KEK.hex(), KEK.hex().upper(), f" {KEK_TEXT}\n"])
def test_every_way_to_write_a_kek_is_the_same_kek(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WRITTEN", text)
    secret = SecretKey.generate()
    wrapped = provider_from_uri("env:SEALPOINT_KEK").wrap(secret, WRAP)
    binary = private(tmp_path / "binary", KEK)
    written = private(tmp_path / "written", text.encode())
    for uri in ("env:WRITTEN", binary, written):
        assert secrets_equal(provider_from_uri(uri).unwrap(wrapped, WRAP), secret)


def test_local_providers_are_ordinary_providers(tmp_path: Path) -> None:
    uri = private(tmp_path / "kek", KEK)
    for provider in (EnvProvider("SEALPOINT_KEK"), FileProvider(uri.removeprefix("file:"))):
        assert isinstance(provider, KeyManagementProvider)
        assert provider.capabilities == ProviderCapabilities(binds_context=True, authenticates=True, can_describe=False)
        wrapped = provider.wrap(SecretKey.generate(), WRAP)
        assert (len(wrapped.wrapped), wrapped.wrap_alg, len(wrapped.kek_version)) == (125, "sealpoint-v1", 32)
        assert KEK_TEXT not in repr(provider)
    assert provider_from_uri(uri).uri == uri


def test_a_relative_path_counts_from_the_current_folder(tmp_path: Path) -> None:
    private(tmp_path / "kek.b64", KEK_TEXT.encode())
    with Keyring.connect("memory:", kek="file:kek.b64") as keyring:
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_an_unset_variable() -> None:
    refused("env:NO_KEK", "invalid_argument", "NO_KEK", "not set", "sealpoint keygen")


@pytest.mark.parametrize("name", ["", "A B", "1A", "A=B", "A?x=1", "A#b"])
def test_no_name_of_a_variable(name: str) -> None:
    refused(f"env:{name}", "invalid_argument", "env:")


BAD_KEKS = {
    "empty": b"",
    "31 bytes": base64.b64encode(KEK[:31]),
    "33 bytes": base64.b64encode(KEK + b"x"),
    "63 hex digits": KEK.hex()[:-1].encode(),
    "32 ASCII characters": b"abcdefghijklmnopqrstuvwxyz012345",
    "base64 of 32 ASCII characters": base64.b64encode(b"abcdefghijklmnopqrstuvwxyz012345"),
    "two KEKs": f"{KEK_TEXT}\n{KEK_TEXT}".encode(),
}


@pytest.mark.parametrize("bad", BAD_KEKS.values(), ids=list(BAD_KEKS))
def test_no_kek_in_the_variable_or_file(bad: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BAD", bad.decode())
    for uri in ("env:BAD", private(tmp_path / "bad", bad)):
        message = refused(uri, "invalid_argument", "holds no KEK", "sealpoint keygen")
        assert not bad or bad.decode() not in message


def test_a_file_that_is_far_too_long(tmp_path: Path) -> None:
    refused(private(tmp_path / "long", secrets.token_bytes(5000)), "invalid_argument", "5000 bytes")


def test_a_missing_file(tmp_path: Path) -> None:
    refused(f"file:{tmp_path}/nothing", "invalid_argument", "no file", "nothing", "sealpoint keygen")


def test_a_folder(tmp_path: Path) -> None:
    refused(f"file:{tmp_path}", "invalid_argument", "folder")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    refused(f"file:{tmp_path}/pipe", "invalid_argument", "pipe")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_file_that_others_have_access_to(mode: int, tmp_path: Path) -> None:
    refused(private(tmp_path / "kek", KEK, mode), "invalid_argument", "chmod 600", f"{mode:o}")


UNREADABLE = """
import os, sys
from sealpoint.kms.local import FileProvider
if os.geteuid() == 0:
    os.setuid(65534)
try:
    FileProvider(sys.argv[1])
except Exception as error:
    print(error.code, error)
"""


def test_an_unreadable_file(tmp_path: Path) -> None:
    """As a user other than root, who reads everything."""
    private(tmp_path / "kek", KEK, 0)
    done = subprocess.run([sys.executable, "-c", UNREADABLE, str(tmp_path / "kek")], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("invalid_argument")
    assert "cannot be read" in done.stdout
    assert "600" in done.stdout


def test_a_path_through_a_file_cannot_be_read(tmp_path: Path) -> None:
    private(tmp_path / "kek", KEK)
    refused(f"file:{tmp_path}/kek/kek", "invalid_argument", "cannot be read")


def test_a_symbolic_link_is_judged_by_its_target(tmp_path: Path) -> None:
    private(tmp_path / "kek", KEK, 0o644)
    (tmp_path / "link").symlink_to("kek")
    refused(f"file:{tmp_path}/link", "invalid_argument", "chmod 600")
    (tmp_path / "kek").chmod(0o400)
    assert provider_from_uri(f"file:{tmp_path}/link").uri == f"file:{tmp_path}/link"


@pytest.mark.parametrize("rest", ["", "//host/kek", "kek?mode=x", "kek#part", "a\0b"])
def test_no_path(rest: str) -> None:
    refused(f"file:{rest}", "invalid_argument", "file:")


@pytest.mark.parametrize("scheme", ["azure-kv", "hcvault"])
def test_schemes_of_later_releases(scheme: str) -> None:
    message = refused(f"{scheme}://arn:something", "missing_dependency", scheme, "env:", "file:")
    assert "something" not in message
    with pytest.raises(MissingDependencyError):
        provider_from_uri(f"{scheme}:x")


@pytest.mark.parametrize("uri", ["", "SEALPOINT_KEK", "redis:x", "ENV:SEALPOINT_KEK", "base64key://x", ":x", " env:SEALPOINT_KEK"])
def test_unknown_schemes(uri: str) -> None:
    refused(uri, "invalid_argument", "env:", "file:")


@pytest.mark.parametrize("kek", [KEK_TEXT, OTHER_KEK_TEXT, f"env:{KEK_TEXT}", f"file:{KEK_TEXT}", f"base64key://{KEK_TEXT}"])
def test_a_kek_in_place_of_its_uri_is_not_repeated(kek: str) -> None:
    message = refused(kek, "invalid_argument", "env:")
    assert KEK_TEXT not in message


@pytest.mark.parametrize("kek", [None, 7, b"env:SEALPOINT_KEK", [], [None], FakeKms, {"env:SEALPOINT_KEK"}, [["env:SEALPOINT_KEK"]]])
def test_what_is_no_kek_at_all(kek: Any) -> None:
    refused(kek, "invalid_argument", "kek=")


def test_one_kek_twice() -> None:
    refused(["env:SEALPOINT_KEK", "env:OTHER_KEK", "env:SEALPOINT_KEK"], "invalid_argument", "twice")


@pytest.mark.parametrize("uri", ["", "noscheme", "UPPER:x", "a:", "a:b\nc", None, 7])
def test_a_provider_needs_a_uri(uri: Any) -> None:
    refused(FakeKms(uri), "invalid_argument", "uri")


def test_wraps_that_anyone_can_mint_are_not_enough() -> None:
    refused(FakeKms(authenticates=False), "invalid_argument", "authenticate")


def test_uris_and_providers_mix(url: str) -> None:
    with ready(url, ["env:SEALPOINT_KEK", FakeKms("fake:two", OTHER_KEK_TEXT)]) as keyring:
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
        assert [kek.scheme for kek in keyring.health().keks] == ["env", "fake"]
        assert (KEK_TEXT in repr(keyring), "env" in repr(keyring)) == (False, True)


def test_scheme_of() -> None:
    assert (scheme_of("env:A"), scheme_of("hcvault://host/mount/key")) == ("env", "hcvault")


def test_invalid_argument_is_the_class() -> None:
    with pytest.raises(InvalidArgumentError):
        EnvProvider("NO_KEK")
