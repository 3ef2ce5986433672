"""Sealing and opening: sealpoint beside its peers, in one run, in interleaved rounds.

Every contender gets the payload as bytes and makes fresh randomness for each message. All but LangGraph's cipher, which can bind
nothing, bind the same position of seven names. Times are the best of the rounds, since noise only ever adds; ratios compare within each
round, and are the median of these.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import harness

RESULT = "python-seal.json"
SIZES = (64, 1 << 10, 16 << 10, 100 << 10, 1 << 20, 16 << 20)
QUICK_SIZES = (64, 1 << 10, 100 << 10, 1 << 20)

SEALPOINT = "sealpoint"
BUILT = "sealpoint, context built per call"
EXTENDED = "sealpoint, context extended per call"
EAX = "LangGraph EncryptedSerializer's cipher (AES-EAX)"
AESGCM = "cryptography AESGCM"
COBBLESTONE = "cryptography Cobblestone256"
TINK = "Tink AES256_GCM"
AWS_MASTER_KEY = "AWS Encryption SDK, raw master key"
AWS_KEYRING = "AWS Encryption SDK, raw keyring"

POSITION = {
    "tenant": "acme",
    "purpose": "langgraph.write",
    "thread": "0b8a3f6e-58c6-4d0e-9d3a-0d5a4c1f7b21",
    "ns": "",
    "checkpoint": "1f0b9c1e-7d3a-6b52-8002-5e8f3a9d4c10",
    "task": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "channel": "messages",
}

PACKAGES = (
    "sealpoint",
    "langgraph-checkpoint",
    "pycryptodome",
    "cryptography",
    "tink",
    "aws-encryption-sdk",
    "aws-cryptographic-material-providers",
)


@dataclass(frozen=True)
class Contender:
    seal: Callable[[bytes], Any]
    open: Callable[[Any], bytes]


@dataclass(frozen=True)
class Target:
    """`peer`'s time is at least `factor` times sealpoint's (`faster`), or sealpoint's at most `factor` times `peer`'s."""

    peer: str
    sizes: tuple[int, ...]
    factor: float
    faster: bool


TARGETS = (
    Target(EAX, (1 << 10,), 55, True),
    Target(COBBLESTONE, (1 << 10,), 2.5, True),
    Target(AESGCM, (1 << 10,), 2.5, False),
    Target(AESGCM, (100 << 10, 1 << 20, 16 << 20), 1.2, False),
)


def main() -> int:
    options = harness.parsed(harness.arguments(__doc__ or "", RESULT), RESULT)
    contenders = harness.available(_makers(), options.skip_missing, needed=[SEALPOINT])
    sizes = QUICK_SIZES if options.quick else SIZES
    rounds = options.rounds or (11 if options.quick else 41)
    rows = measure(contenders, sizes, rounds, sample_ms=0.7 if options.quick else 1.5)
    targets = judge(rows)
    show(rows, sizes, list(contenders))
    harness.show_targets(targets)
    if options.output:
        facts = harness.machine(PACKAGES)
        harness.write(options.output, {"machine": facts, "clock": harness.CLOCK, "rows": rows, "targets": targets})
    return 1 if options.check and not all(target["passed"] for target in targets) else 0


def measure(contenders: dict[str, Contender], sizes: tuple[int, ...], rounds: int, sample_ms: float) -> list[dict[str, Any]]:
    harness.settle_allocator()
    rows = []
    for size in sizes:
        payload = os.urandom(size)
        sealed = {name: contender.seal(payload) for name, contender in contenders.items()}
        for name, contender in contenders.items():
            assert contender.open(sealed[name]) == payload, name
        calls: dict[tuple[str, str], tuple[Callable[[Any], object], Any]] = {}
        for name, contender in contenders.items():
            calls["seal", name] = (contender.seal, payload)
            calls["open", name] = (contender.open, sealed[name])
        timings = harness.interleaved(calls, rounds=rounds, sample_ms=sample_ms)
        for (operation, name), timing in timings.items():
            rows.append(
                {
                    "operation": operation,
                    "bytes": size,
                    "contender": name,
                    "best_us": round(timing.best, 3),
                    "median_us": round(timing.median, 3),
                    "ratio": round(timing.ratio(timings[operation, SEALPOINT]), 3),
                    "rounds": len(timing.times),
                }
            )
    return rows


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ratios = {(row["operation"], row["bytes"], row["contender"]): row["ratio"] for row in rows}
    judged = []
    for operation in ("seal", "open"):
        for target in TARGETS:
            for size in target.sizes:
                ratio = ratios.get((operation, size, target.peer))
                if ratio is None:
                    continue
                measured = ratio if target.faster else 1 / ratio
                wanted = f"at least {target.factor:g}x faster than" if target.faster else f"at most {target.factor:g}x the time of"
                judged.append(
                    {
                        "text": f"{operation} {harness.size_name(size)}, {wanted} {target.peer}",
                        "measured": round(measured, 3),
                        "passed": measured >= target.factor if target.faster else measured <= target.factor,
                    }
                )
    return judged


def show(rows: list[dict[str, Any]], sizes: tuple[int, ...], names: list[str]) -> None:
    found = {(row["operation"], row["bytes"], row["contender"]): row for row in rows}
    for operation in ("seal", "open"):
        head = [f"{operation}: µs (x sealpoint)", *map(harness.size_name, sizes)]
        lines = []
        for name in names:
            cells = [found[operation, size, name] for size in sizes]
            lines.append([name, *(f"{harness.number(cell['best_us'])} ({harness.number(cell['ratio'])})" for cell in cells)])
        print(harness.table(head, lines), end="\n\n")


# -- contenders


def _makers() -> dict[str, Callable[[], Contender]]:
    return {
        SEALPOINT: _sealpoint,
        EXTENDED: _sealpoint_extended,
        BUILT: _sealpoint_built,
        EAX: _langgraph,
        AESGCM: _aesgcm,
        COBBLESTONE: _cobblestone,
        TINK: _tink,
        AWS_MASTER_KEY: _aws_master_key,
        AWS_KEYRING: _aws_keyring,
    }


def _keyring() -> tuple[Any, Any]:
    sealpoint = harness.peer("sealpoint", "sealpoint")
    keyring = sealpoint.Keyring.connect("memory:", kek=harness.new_kek())
    keyring.load(POSITION["tenant"])
    return keyring, sealpoint.Context


def _sealpoint() -> Contender:
    keyring, context_type = _keyring()
    context = context_type(**POSITION)
    return Contender(lambda payload: keyring.seal(payload, context), lambda sealed: keyring.open(sealed, context))


def _sealpoint_extended() -> Contender:
    """As `SealedSaver` does it: the position of the task is prepared, the channel's name comes last."""
    keyring, context_type = _keyring()
    prepared = context_type(**{key: value for key, value in POSITION.items() if key != "channel"})
    channel = POSITION["channel"]
    return Contender(
        lambda payload: keyring.seal(payload, prepared.extend(channel=channel)),
        lambda sealed: keyring.open(sealed, prepared.extend(channel=channel)),
    )


def _sealpoint_built() -> Contender:
    keyring, context_type = _keyring()
    return Contender(
        lambda payload: keyring.seal(payload, context_type(**POSITION)), lambda sealed: keyring.open(sealed, context_type(**POSITION))
    )


def _langgraph() -> Contender:
    serde = harness.peer("langgraph.checkpoint.serde.encrypted", "langgraph")
    harness.peer("Crypto.Cipher.AES", "pycryptodome")
    cipher = serde.EncryptedSerializer.from_pycryptodome_aes(key=os.urandom(32)).cipher
    return Contender(cipher.encrypt, lambda sealed: cipher.decrypt(*sealed))


def _associated_data() -> bytes:
    """What a peer that takes bytes binds: the same names, encoded once."""
    sealpoint = harness.peer("sealpoint", "sealpoint")
    canonical: bytes = sealpoint.Context(**POSITION).canonical
    return canonical


def _aesgcm() -> Contender:
    aead = harness.peer("cryptography.hazmat.primitives.ciphers.aead", "cryptography")
    key, bound = aead.AESGCM(os.urandom(32)), _associated_data()

    def seal(payload: bytes) -> tuple[bytes, bytes]:
        # Nonce and ciphertext stay apart: joining them would only slow the peer down.
        nonce = os.urandom(12)
        return nonce, key.encrypt(nonce, payload, bound)

    return Contender(seal, lambda sealed: key.decrypt(sealed[0], sealed[1], bound))


def _cobblestone() -> Contender:
    cobblestone = harness.peer("cryptography.cobblestone", "'cryptography>=50'")
    key, bound = os.urandom(32), _associated_data()

    def seal(payload: bytes) -> bytes:
        encryptor = cobblestone.Cobblestone256Encryptor(key, bound)
        sealed: bytes = encryptor.update(payload) + encryptor.finalize()
        return sealed

    def open_(sealed: bytes) -> bytes:
        decryptor = cobblestone.Cobblestone256Decryptor(key, bound)
        payload: bytes = decryptor.update(sealed) + decryptor.finalize()
        return payload

    return Contender(seal, open_)


def _tink() -> Contender:
    tink = harness.peer("tink", "tink")
    aead = harness.peer("tink.aead", "tink")
    aead.register()
    primitive = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
    bound = _associated_data()
    return Contender(lambda payload: primitive.encrypt(payload, bound), lambda sealed: primitive.decrypt(sealed, bound))


def _aws() -> tuple[Any, Any]:
    """A client, and the key-committing suite without signatures: what compares with the others."""
    sdk = harness.peer("aws_encryption_sdk", "'aws-encryption-sdk[MPL]'")
    client = sdk.EncryptionSDKClient(commitment_policy=sdk.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    identifiers = harness.peer("aws_encryption_sdk.identifiers", "'aws-encryption-sdk[MPL]'")
    return client, identifiers.AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY


def _aws_master_key() -> Contender:
    """The older interface: pure Python around OpenSSL, and the faster of the two."""
    client, suite = _aws()
    raw = harness.peer("aws_encryption_sdk.key_providers.raw", "'aws-encryption-sdk[MPL]'")
    wrapping = harness.peer("aws_encryption_sdk.internal.crypto.wrapping_keys", "'aws-encryption-sdk[MPL]'")
    identifiers = harness.peer("aws_encryption_sdk.identifiers", "'aws-encryption-sdk[MPL]'")
    key = raw.RawMasterKey(
        provider_id="bench",
        key_id="key",
        wrapping_key=wrapping.WrappingKey(
            wrapping_algorithm=identifiers.WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
            wrapping_key=os.urandom(32),
            wrapping_key_type=identifiers.EncryptionKeyType.SYMMETRIC,
        ),
    )
    return Contender(
        lambda payload: client.encrypt(source=payload, key_provider=key, encryption_context=POSITION, algorithm=suite)[0],
        lambda sealed: client.decrypt(source=sealed, key_provider=key)[0],
    )


def _aws_keyring() -> Contender:
    """The interface that its documentation recommends."""
    client, suite = _aws()
    pip = "'aws-encryption-sdk[MPL]'"
    mpl = harness.peer("aws_cryptographic_material_providers.mpl", pip)
    config = harness.peer("aws_cryptographic_material_providers.mpl.config", pip)
    models = harness.peer("aws_cryptographic_material_providers.mpl.models", pip)
    providers = mpl.AwsCryptographicMaterialProviders(config=config.MaterialProvidersConfig())
    keyring = providers.create_raw_aes_keyring(
        input=models.CreateRawAesKeyringInput(
            key_namespace="bench",
            key_name="key",
            wrapping_key=os.urandom(32),
            wrapping_alg=models.AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
        )
    )
    return Contender(
        lambda payload: client.encrypt(source=payload, keyring=keyring, encryption_context=POSITION, algorithm=suite)[0],
        lambda sealed: client.decrypt(source=sealed, keyring=keyring, encryption_context=POSITION)[0],
    )


if __name__ == "__main__":
    sys.exit(main())
