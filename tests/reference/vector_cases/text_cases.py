"""text.json: SPEC sections 5 and 8."""

from sealpoint_ref import envelope, exported, text

from .build import File, Json, data_key

DATA, WRAP = "data", "wrapped-key"
KINDS = {DATA: envelope.KIND_DATA, WRAP: envelope.KIND_WRAP}
NOTE_ID, WRAP_ID = "envelope-note", "wrap-data"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def build(envelopes: File, wraps: File) -> File:
    """The file, whose positives are those of two others as text."""
    file = File("text", "The text form, opened with the key and context of another vector.")

    def add(id_: str, kind: str, with_: str, value: str, code: str, comment: str = "", step: int = 1) -> Json:
        fields = {"op": "open", "kind": kind, "with": with_, "text": value}
        flags = () if code == "ok" else (f"step-{step}",)
        return file.add(f"text-{id_}", code, fields, comment=comment, flags=flags)

    def bad(id_: str, value: str, code: str, comment: str = "", step: int = 1, with_: str = NOTE_ID) -> None:
        add(id_, DATA, with_, value, code, comment, step)

    sources = {vector["id"]: vector for vector in envelopes.vectors + wraps.vectors}
    for name in ("note", "smallest", "payload-0", "payload-1", "padded-true", "padded-n-257", "purpose-client"):
        data = bytes.fromhex(sources[f"envelope-{name}"]["envelope"]["hex"])
        add(name, DATA, f"envelope-{name}", text.encode(KINDS[DATA], data), "ok")["bytes_hex"] = data.hex()
    for name in ("wrap-data", "wrap-client"):
        data = bytes.fromhex(sources[name]["wrapped"])
        add(name, WRAP, name, text.encode(KINDS[WRAP], data), "ok")["bytes_hex"] = data.hex()

    note = bytes.fromhex(sources[NOTE_ID]["envelope"]["hex"])
    good = text.encode(KINDS[DATA], note)
    body = good.removeprefix("sealpoint:v1:")
    wrapped = text.encode(KINDS[WRAP], bytes.fromhex(sources[WRAP_ID]["wrapped"]))
    for id_, value in (
        ("empty", ""),
        ("prose", "approved"),
        ("json", '{"a":1}'),
        ("no-colon", "sealpoint"),
        ("no-prefix", body),
        ("upper-case-prefix", "SEALPOINT:v1:" + body),
        ("capital-prefix", "Sealpoint:v1:" + body),
        ("leading-space", " " + good),
        ("leading-newline", "\n" + good),
        ("leading-byte-order-mark", "\ufeff" + good),
        ("leading-quote", '"' + good + '"'),
        ("other-separator", "sealpoint_v1_" + body),
        ("plural", "sealpoints:v1:" + body),
        ("fullwidth-colon", "sealpoint\uff1av1:" + body),
    ):
        bad(id_, value, "plaintext_refused")
    bad("wrap-as-data", wrapped, "malformed", "The prefix of another kind.")
    add("data-as-wrap", WRAP, WRAP_ID, good, "malformed", "The prefix of another kind.")
    bad("key-prefix", "sealpoint-key:v1:" + body, "malformed", "The prefix of another kind, reserved.")
    add("key-prefix-as-wrap", WRAP, WRAP_ID, "sealpoint-key:v1:" + body, "malformed")
    bad("wrap-v2-as-data", "sealpoint-wrap:v2:" + body, "malformed", "The kind comes before the version.")
    bad("wrap-prefix-data-bytes", "sealpoint-wrap:v1:" + body, "malformed")
    for id_, value in (
        ("v2", "sealpoint:v2:" + body),
        ("v11", "sealpoint:v11:" + body),
        ("v1-upper-case", "sealpoint:V1:" + body),
        ("v1-no-colon", "sealpoint:v1"),
        ("no-version", "sealpoint:" + body),
        ("prefix-only", "sealpoint:"),
        ("v1-dash", "sealpoint:v1-" + body),
        ("v1-after-space", "sealpoint: v1:" + body),
    ):
        bad(id_, value, "unsupported_version")
    add("wrap-v2", WRAP, WRAP_ID, wrapped.replace(":v1:", ":v2:"), "unsupported_version", "Its own prefix.")
    add("wrap-plaintext", WRAP, WRAP_ID, "approved", "plaintext_refused")

    # Three lengths modulo 3, hence 0, 2 and 1 padding characters in the lenient form.
    third = len(body) // 3
    for id_, value, comment in (
        ("standard-plus", body.replace("-", "+", 1) if "-" in body else "+" + body[1:], "'+' is not '-'."),
        ("standard-slash", body.replace("_", "/", 1) if "_" in body else "/" + body[1:], "'/' is not '_'."),
        ("space-inside", body[:third] + " " + body[third:], ""),
        ("newline-inside", body[:76] + "\n" + body[76:], "Line-wrapped base64."),
        ("crlf-inside", body[:76] + "\r\n" + body[76:], ""),
        ("tab-inside", body[:third] + "\t" + body[third:], ""),
        ("leading-space-after-prefix", " " + body, ""),
        ("trailing-space", body + " ", ""),
        ("trailing-newline", body + "\n", ""),
        ("trailing-nul", body + "\0", ""),
        ("padding-inside", body[:4] + "=" + body[4:], ""),
        ("non-ascii", body[:-1] + "\u00e9", ""),
        ("fullwidth", body[:-1] + "\uff21", "A letter only after normalisation."),
        ("colon", body + ":AAAA", ""),
        ("dot", body[:-1] + ".", ""),
        ("percent", body[:-1] + "%3D", ""),
    ):
        bad(id_, "sealpoint:v1:" + value, "malformed", comment)
    for name in ("note", "payload-0", "payload-1"):
        source = f"envelope-{name}"
        data = bytes.fromhex(sources[source]["envelope"]["hex"])
        value = text.encode(KINDS[DATA], data)
        missing, rest = -len(value.removeprefix("sealpoint:v1:")) % 4, len(data) % 3
        label = f"{rest}-mod-3"
        if missing:
            bad(f"padding-{label}", value + "=" * missing, "malformed", "Padding, correct elsewhere.", with_=source)
            bad(f"trailing-bit-{label}", _trailing_bits(value, 1), "malformed", "Nonzero trailing bits.", with_=source)
            high = 1 << (3 if rest == 1 else 1)
            bad(f"trailing-high-bit-{label}", _trailing_bits(value, high), "malformed", with_=source)
        else:
            bad(f"padding-{label}", value + "=", "malformed", "Padding where none could be.", with_=source)
            bad(f"padding-four-{label}", value + "====", "malformed", with_=source)
            bad(f"length-1-mod-4-{label}", value + "A", "malformed", "A length of 1 modulo 4.", with_=source)
    wrap_data = bytes.fromhex(sources[WRAP_ID]["wrapped"])
    if len(wrap_data) % 3 != 2:
        raise AssertionError("125 is 2 modulo 3")
    add("wrap-padding", WRAP, WRAP_ID, wrapped + "=", "malformed")
    add("wrap-trailing-bit", WRAP, WRAP_ID, _trailing_bits(wrapped, 1), "malformed")
    for id_, value, comment in (
        ("no-body", "", "The prefix and nothing else."),
        ("one-character", "w", ""),
        ("not-magic", text.encode(KINDS[DATA], b"\xc2" + note[1:]).removeprefix("sealpoint:v1:"), "Has the prefix."),
        ("messagepack", text.encode(KINDS[DATA], b"\x81\xa1a\x01").removeprefix("sealpoint:v1:"), "Has the prefix."),
    ):
        value = "sealpoint:v1:" + value
        fields = {"op": "open", "kind": DATA, "with": NOTE_ID, "text": value}
        note_ = comment if id_ != "one-character" else "A length of 1 modulo 4."
        flags = ("step-1",) if id_ == "one-character" else ("step-1", "decided")
        file.add(f"text-{id_}", "malformed", fields, comment=note_, flags=flags)
    fields = {"op": "open", "kind": DATA, "with": NOTE_ID, "text": "sealpoint-foo:v1:" + body}
    file.add("text-unknown-prefix", "malformed", fields, comment="Starts with `sealpoint-`.", flags=("step-1", "decided"))

    def encoded(data: bytes) -> str:
        return text.encode(KINDS[DATA], data)

    bad("magic-only", encoded(b"\xc1"), "malformed", "The bytes are parsed as in section 8.", 2)
    bad("kind-57", encoded(b"\xc1\x57" + note[2:]), "malformed", "A wrapped key behind the data prefix.", 2)
    main = data_key("main")
    exported_key = exported.export(main.secret, "client", main.key_id, 1, "acme")
    key_body = exported_key.removeprefix("sealpoint-key:v1:")
    bad("exported-key", exported_key, "malformed", "An exported key is no envelope.")
    bad("exported-key-bytes", "sealpoint:v1:" + key_body, "malformed", "An exported key behind the data prefix.", 2)
    bad("bytes-version-02", encoded(note[:2] + b"\x02" + note[3:]), "unsupported_version", step=3)
    bad("bytes-suite-02", encoded(note[:3] + b"\x02" + note[4:]), "unsupported_suite", step=4)
    bad("bytes-encoding-02", encoded(note[:4] + b"\x02" + note[5:]), "unsupported_encoding", step=5)
    bad("bytes-truncated", encoded(note[:92]), "malformed", step=6)
    bad("bytes-dek-id", encoded(note[:5] + b"\0" * 16 + note[21:]), "key_not_found", step=7)
    bad("bytes-commitment", encoded(note[:45] + bytes(32) + note[77:]), "authentication_failed", step=8)
    bad("bytes-tag", encoded(note[:-16] + bytes(16)), "authentication_failed", step=9)
    return file


def _trailing_bits(value: str, bits: int) -> str:
    """The text with some of the unused bits of its last character set."""
    return value[:-1] + ALPHABET[ALPHABET.index(value[-1]) | bits]
