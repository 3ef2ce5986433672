"""One list of codes, the same as the core's; exceptions that say what happened and nothing secret."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sealpoint
from sealpoint import _native, errors
from sealpoint.errors import ERRORS, InternalError, SealpointError, error_for

SPEC = Path(__file__).parents[2] / "docs" / "SPEC.md"


def test_the_list_is_the_cores() -> None:
    assert {code: retry for code, (_, retry) in ERRORS.items()} == dict(_native.ERROR_CODES)


def test_the_list_is_the_specs() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (yes|no) \|", SPEC.read_text(), re.MULTILINE)
    assert {code: retry == "yes" for code, retry in rows} == {code: retry for code, (_, retry) in ERRORS.items()}


@pytest.mark.parametrize("code", ERRORS)
def test_each_code_has_its_class(code: str) -> None:
    error = error_for(code, "what happened")
    assert type(error) is ERRORS[code][0]
    assert isinstance(error, SealpointError)
    assert (error.code, error.retryable, str(error)) == (code, ERRORS[code][1], "what happened")
    assert code in repr(error)
    assert "what happened" in repr(error)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],  # noqa: S301  # our own bytes
    ids=["copy", "deepcopy", "pickle"],
)
def test_errors_travel_between_processes(duplicate: object) -> None:
    error = duplicate(error_for("kms_throttled", "slow down"))  # type: ignore[operator]
    assert (type(error), error.code, error.retryable, str(error)) == (
        errors.KmsError,
        "kms_throttled",
        True,
        "slow down",
    )


def test_a_code_outside_the_list() -> None:
    with pytest.raises(ValueError, match="SPEC section 9"):
        SealpointError("nonsense", "what happened")
    error = error_for("nonsense", "what happened")
    assert isinstance(error, InternalError)
    assert error.code == "internal"


def test_every_class_is_public() -> None:
    for kind in {kind for kind, _ in ERRORS.values()} | {SealpointError}:
        assert getattr(sealpoint, kind.__name__) is kind
        assert kind.__name__ in errors.__all__
    assert sorted(sealpoint.__all__) == list(dict.fromkeys(sorted(sealpoint.__all__)))
    assert all(hasattr(sealpoint, name) for name in sealpoint.__all__)


def test_the_core_raises_these_classes() -> None:
    with pytest.raises(errors.PlaintextRefusedError) as caught:
        _native.envelope_dek_id(b"clear")
    assert caught.value.code == "plaintext_refused"
    with pytest.raises(errors.InvalidArgumentError):
        _native.SecretKey.from_bytes(b"short")


def test_importing_sealpoint_imports_no_langgraph() -> None:
    program = "import sys, sealpoint, sealpoint.cli, sealpoint.kms.local; print([m for m in sys.modules if 'lang' in m or m == 'sqlite3'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_without_langgraph_the_import_names_the_remedy() -> None:
    program = """
import sys
sys.modules["langgraph.checkpoint.base"] = None  # what a failed import leaves: the next one fails too
try:
    import sealpoint.langgraph
except ImportError as error:
    print(type(error).__name__, error.code, error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingDependencyError missing_dependency")
    assert "pip install 'sealpoint[langgraph]'" in run.stdout
