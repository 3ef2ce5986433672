"""The package, and the KEKs that the configuration names, each by itself."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .._keks import Keks
from .._native import Context, SecretKey, __version__
from ..errors import InvalidArgumentError, SealpointError
from ..kms import KeyManagementProvider, WrappedKey, provider_from_uri, scheme_of
from .report import Check, Verdict

_CPU_INFO = Path("/proc/cpuinfo")


class Counted:
    """A provider whose calls are counted."""

    def __init__(self, provider: KeyManagementProvider) -> None:
        self.uri = provider.uri
        self.capabilities = provider.capabilities
        self.calls = 0
        self._provider = provider

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """See `KeyManagementProvider`."""
        self.calls += 1
        return self._provider.wrap(secret, context)

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """See `KeyManagementProvider`."""
        self.calls += 1
        return self._provider.unwrap(wrapped, context)


def package() -> Check:
    """Whether what is imported is what is installed, and how fast AES is here."""
    seen = f"sealpoint {__version__}, Python {platform.python_version()}, {sys.platform} {platform.machine()}"
    try:
        installed = version("sealpoint")
    except PackageNotFoundError:
        installed = __version__
    if installed != __version__:
        return Check("package", "problem", f"{seen}; but {installed} is installed", "reinstall it: pip install --force-reinstall sealpoint")
    if has_aes() is False:
        return Check(
            "package",
            "warning",
            f"{seen}; the processor has no AES instructions: slow, in constant time all the same",
            "use another machine",
        )
    return Check("package", "ok", seen + ("; AES in hardware" if has_aes() else ""))


def has_aes() -> bool | None:
    """None: the machine does not tell."""
    try:
        lines = _CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    flags = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return "aes" in flags[0] if flags else None


def providers(configured: Sequence[str | KeyManagementProvider]) -> tuple[list[Counted], list[Check]]:
    """Those that can be made, and a check for each that cannot. A URI is not shown before it is understood: it could be a key."""
    made, checks = [], []
    for number, kek in enumerate(configured, 1):
        try:
            provider = provider_from_uri(kek) if isinstance(kek, str) else kek
            if not isinstance(provider, KeyManagementProvider) or isinstance(provider, type):
                raise InvalidArgumentError("invalid_argument", "this is neither the URI of a KEK nor a KeyManagementProvider")
            made.append(Counted(provider))
        except SealpointError as error:
            remedy = "install what it names" if error.code == "missing_dependency" else "correct kek= (--kek), or what it names"
            checks.append(Check(f"kek {number}", "problem", f"{error.code}: {error}", remedy))
    return made, checks


def sources(made: Sequence[Counted], store: str) -> list[Check]:
    """Where KEKs lie that this process holds itself. store: the folder of the key store's file; empty: it has none."""
    checks = []
    for kek in made:
        if scheme_of(kek.uri) == "env":
            seen = f"{kek.uri}: whoever may read this process's environment has it"
            checks.append(Check("kek source", "ok", seen))
        elif scheme_of(kek.uri) == "file":
            checks.append(_file(kek.uri, store))
    return checks


def folder_verdict(folder: str) -> tuple[Verdict, str]:
    """Who else may exchange a file in it. Raises: `OSError`."""
    mode = os.stat(folder).st_mode
    shown = f"may exchange it: its folder has mode {stat.S_IMODE(mode):03o}"
    if os.name != "posix" or mode & stat.S_ISVTX:
        return "ok", ""
    if mode & stat.S_IWOTH:
        return "problem", f"everybody {shown}"
    return ("warning", f"the folder's group {shown}") if mode & stat.S_IWGRP else ("ok", "")


def _file(uri: str, store: str) -> Check:
    path = os.path.realpath(uri.removeprefix("file:"))
    folder = os.path.dirname(path)
    try:
        file, (verdict, seen) = os.stat(path), folder_verdict(folder)
    except OSError as error:
        return Check("kek source", "problem", f"{uri}: {error.strerror}", "see to it that it stays where it is")
    if verdict != "ok":
        return Check("kek source", verdict, f"{uri}: {seen}", "chmod go-w on the folder")
    if hasattr(os, "geteuid") and file.st_uid not in (os.geteuid(), 0):
        seen = f"{uri}: it belongs to user {file.st_uid}, who may exchange it"
        return Check("kek source", "warning", seen, "make the user that runs sealpoint its owner")
    if store and os.path.realpath(store) == folder:
        seen = f"{uri}: it lies in the folder of the key store, where one backup has both"
        return Check("kek source", "warning", seen, "keep it elsewhere: with both, everything opens")
    return Check("kek source", "ok", f"{uri}: a file of its owner alone, mode {stat.S_IMODE(file.st_mode):03o}")


def keks(made: Sequence[Counted], canaries: Mapping[str, bytes] | None) -> tuple[Keks | None, list[Check]]:
    """Each KEK, asked now; None: none can be used. canaries: None, if the key store cannot be read."""
    if not made:
        return None, []
    try:
        together = Keks(list(made))
    except SealpointError as error:
        return None, [Check("keks", "problem", f"{error.code}: {error}", "correct kek= (--kek)")]
    return together, [_kek(together, kek, canaries) for kek in together.providers] + [_together(together, canaries)]


def _kek(keks: Keks, kek: KeyManagementProvider, canaries: Mapping[str, bytes] | None) -> Check:
    name, uri = f"kek {scheme_of(kek.uri)}", kek.uri
    try:
        keks.make_canary(kek)  # kept nowhere: it shows that the KEK wraps, also where it has no canary
        if kek not in keks.with_canary:
            opens = "and opens" if kek.capabilities.can_unwrap else "; whether its wraps open shows where its secret half is"
            return Check(name, "ok", f"{uri} wraps {opens}".replace(" ;", ";"))
        if canaries is None:
            return Check(name, "ok", f"{uri} wraps and opens; its canary was not seen")
        if kek.uri not in canaries:
            return Check(
                name, "warning", f"{uri} wraps and opens, but has no canary in the key store", "run setup() with this configuration"
            )
        keks.check_canary(kek, canaries[kek.uri])
    except SealpointError as error:
        return Check(name, "problem", f"{uri}: {error.code}: {error}", "what wraps under it alone does not open until this is mended")
    return Check(name, "ok", f"{uri} wraps, and opens its canary")


def _together(keks: Keks, canaries: Mapping[str, bytes] | None) -> Check:
    uris = [kek.uri for kek in keks.providers]
    if canaries and not keks.recovers and not any(uri in canaries for uri in uris):
        return Check(
            "keks",
            "problem",
            "the key store was set up with other KEKs than those of this configuration",
            "name one of them in kek= (--kek)",
        )
    if len(uris) == 1:
        return Check(
            "keks", "warning", "there is one KEK: whoever loses it loses everything", "add a second one, or a recovery key, and rewrap"
        )
    return Check("keks", "ok", f"{len(uris)} KEKs")
