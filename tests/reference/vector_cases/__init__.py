"""The vectors as code: each module builds the files of one part of the SPEC."""

from . import (
    cbor_cases,
    context_cases,
    derive_cases,
    envelope_cases,
    exported_cases,
    manifest_cases,
    recovery_cases,
    store_cases,
    text_cases,
    wrap_cases,
)
from .build import File


def build_all() -> list[File]:
    """Every file of tests/vectors/, in the order in which FROZEN.sha256 lists them."""
    envelopes, wraps = envelope_cases.build(), wrap_cases.build()
    return [
        context_cases.build(),
        derive_cases.build(),
        derive_cases.build_padding(),
        envelopes,
        text_cases.build(envelopes, wraps),
        wraps,
        wrap_cases.build_stored(),
        exported_cases.build(),
        cbor_cases.build(),
        manifest_cases.build(),
        store_cases.build(),
        recovery_cases.build(),
    ]
