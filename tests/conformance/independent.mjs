/**
 * `docs/SPEC.md` on `node:crypto` alone, written from that page: no code is shared with the core, with a binding or with `tests/reference`. Takes salts as
 * arguments: never use it for data. Section numbers are the SPEC's.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, timingSafeEqual } from "node:crypto";

const CHUNK = 16_384,
  TAG = 16,
  HEADER = 21,
  SALT = 24,
  BODY = 77,
  SUITE = 1;
const PURPOSES = { data: 1, index: 2, client: 3, audit: 4 };
export const PLAIN = 0,
  PADDED = 1;
const PREFIXES = { data: "sealpoint:", "wrapped-key": "sealpoint-wrap:", key: "sealpoint-key:" };
const KINDS = { data: 0x53, "wrapped-key": 0x57, key: 0x4b };

export class Refused extends Error {
  constructor(code, why = "") {
    super(`${code} ${why}`);
    this.code = code;
  }
}

const need = (condition, code, why) => {
  if (!condition) throw new Refused(code, why);
};
const uint = (length, value) => {
  const out = Buffer.alloc(length);
  out.writeUIntBE(value, 0, length);
  return out;
};
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();

// Section 2

export function expand(key, info, length) {
  const t1 = createHmac("sha512", key).update(info).update("\x01").digest();
  const t2 = createHmac("sha512", key).update(t1).update(info).update("\x02").digest();
  return Buffer.concat([t1, t2]).subarray(0, length);
}

const label = (name, ...parts) => Buffer.concat([Buffer.from(`sealpoint/v1/${name}\0`), ...parts]);
export const bodyKey = (dek, purpose, dekId) => expand(dek, label("body", Buffer.from([SUITE, PURPOSES[purpose]]), dekId), 32);
export const kekId = (kek) => expand(kek, label("kek-id"), 16);
export const wrapKey = (kek) => expand(kek, label("wrap", Buffer.from([SUITE]), kekId(kek)), 32);
export const canary = (kekUri) => sha256(label("canary"), Buffer.from(kekUri));
export const contextHash = (header, canonical) => sha256(label("context"), header, canonical);

export function keyCheck(dek, purpose, dekId, version, tenant) {
  const name = Buffer.from(tenant);
  return expand(dek, label("key-check", Buffer.from([SUITE, PURPOSES[purpose]]), dekId, uint(4, version), uint(2, name.length), name), 32);
}

export function cacheNamespace(tenant, ns) {
  return sha256(label("cache-namespace"), netstrings([tenant, ...ns]));
}

// Section 3. A value is a string, a bigint, a number (binary64), or a list of strings.

const netstrings = (list) => Buffer.concat(list.flatMap((item) => [Buffer.from(`${Buffer.byteLength(item)}:`), Buffer.from(item), Buffer.from(",")]));

function number(value) {
  if (typeof value === "number") {
    need(Number.isFinite(value), "invalid_context", "NaN or infinity");
    if (!Number.isInteger(value) || Math.abs(value) > 2 ** 53) {
      const bits = Buffer.alloc(8);
      bits.writeDoubleBE(value);
      return Buffer.from(`f:${bits.toString("hex")}`);
    }
    value = BigInt(value);
  }
  need(value >= -(2n ** 63n) && value < 2n ** 64n, "invalid_context", "an integer out of range");
  return Buffer.from(`i:${value}`);
}

function encoded(key, value) {
  const text = typeof value === "string",
    list = Array.isArray(value);
  need(text || !["tenant", "purpose"].includes(key), "invalid_context", "no string");
  need(!(list && key === "version"), "invalid_context", "a list as version");
  need(
    (list ? value : [value]).every((item) => typeof item !== "string" || item.isWellFormed()),
    "invalid_context",
    "a lone surrogate",
  );
  if (list) return netstrings(value);
  return text ? Buffer.from((key === "version" ? "s:" : "") + value) : number(value);
}

export function canonical(pairs) {
  need(
    pairs.every(([key]) => /^[a-z0-9_.-]{1,64}$/.test(key)),
    "invalid_context",
    "a key",
  );
  const sorted = pairs.map(([key, value]) => [key, encoded(key, value)]).sort(([a], [b]) => (a < b ? -1 : 1));
  const keys = sorted.map(([key]) => key),
    values = new Map(sorted);
  need(values.size === keys.length && keys.length <= 32, "invalid_context", "a key twice, or too many");
  const size = sorted.reduce((sum, [key, value]) => sum + 4 + key.length + value.length, 2);
  need(size <= 65_536 && sorted.every(([, value]) => value.length < 65_536), "invalid_context", "too long");
  const tenant = values.get("tenant"),
    purpose = values.get("purpose");
  need(tenant?.length, "tenant_required");
  need(tenant.length <= 1024 && purpose?.length, "invalid_context", "tenant or purpose");
  return Buffer.concat([uint(2, sorted.length), ...sorted.flatMap(([key, value]) => [uint(2, key.length), Buffer.from(key), uint(2, value.length), value])]);
}

export const wrapContext = (dekId, purpose, tenant, use) =>
  canonical(
    Object.entries({
      "dek.id": dekId.toString("hex"),
      "dek.purpose": purpose,
      "dek.suite": "cobblestone-256",
      ...(use === undefined ? {} : { "dek.use": use }), // section 6.5
      purpose: "wrap",
      tenant,
    }),
  );
export const canaryContext = (kekUri) => canonical(Object.entries({ kek_uri: kekUri, purpose: "canary", tenant: "sealpoint" }));

// Section 4

export function streamKeys(inputKey, salt, ctx) {
  const okm = expand(inputKey, Buffer.concat([Buffer.from("c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"), salt, ctx]), 76);
  return { key: okm.subarray(0, 32), baseNonce: okm.subarray(32, 44), commitment: okm.subarray(44) };
}

const header = (kind, encoding, keyId) => Buffer.concat([Buffer.from([0xc1, KINDS[kind], 1, SUITE, encoding]), keyId]);
const nonce = (base, chunk) => Buffer.from((BigInt(`0x${base.toString("hex")}`) ^ BigInt(chunk)).toString(16).padStart(24, "0"), "hex");

function sealBody(inputKey, head, context, salt, plaintext) {
  const { key, baseNonce, commitment } = streamKeys(inputKey, salt, contextHash(head, context));
  const parts = [head, salt, commitment];
  for (let chunk = 0; chunk * CHUNK <= plaintext.length; chunk++) {
    const cipher = createCipheriv("aes-256-gcm", key, nonce(baseNonce, chunk));
    parts.push(cipher.update(plaintext.subarray(chunk * CHUNK, (chunk + 1) * CHUNK)), cipher.final(), cipher.getAuthTag());
  }
  return Buffer.concat(parts);
}

function openBody(inputKey, sealed, context) {
  const ctx = contextHash(sealed.subarray(0, HEADER), context);
  const { key, baseNonce, commitment } = streamKeys(inputKey, sealed.subarray(HEADER, HEADER + SALT), ctx);
  need(timingSafeEqual(commitment, sealed.subarray(HEADER + SALT, BODY)), "authentication_failed", "commitment");
  const parts = [];
  for (let at = BODY, chunk = 0; at < sealed.length; at += CHUNK + TAG, chunk++) {
    const piece = sealed.subarray(at, at + CHUNK + TAG);
    const decipher = createDecipheriv("aes-256-gcm", key, nonce(baseNonce, chunk), { authTagLength: TAG });
    decipher.setAuthTag(piece.subarray(piece.length - TAG));
    parts.push(decipher.update(piece.subarray(0, piece.length - TAG)));
    try {
      decipher.final();
    } catch {
      throw new Refused("authentication_failed", `chunk ${chunk}`);
    }
  }
  return Buffer.concat(parts);
}

export function bucket(n) {
  const e = 31 - Math.clz32(n),
    s = 32 - Math.clz32(e);
  const unit = n <= 256 ? 32 : 2 ** (e - s);
  return Math.ceil(n / unit) * unit;
}

function buildInner(contentType, payload, encoding) {
  need(contentType.length <= 255, "limit_exceeded", "content type");
  const inner = Buffer.concat([Buffer.from([contentType.length]), Buffer.from(contentType, "latin1"), payload]);
  if (encoding === PLAIN) return inner;
  return Buffer.concat([inner, Buffer.from([0x80]), Buffer.alloc(bucket(inner.length + 1) - inner.length - 1)]);
}

function parseInner(inner, encoding) {
  if (encoding === PADDED) {
    let end = inner.length;
    while (end > 0 && inner[end - 1] === 0) end--;
    need(inner[end - 1] === 0x80 && bucket(end) === inner.length, "malformed", "padding");
    inner = inner.subarray(0, end - 1);
  }
  need(inner.length > inner[0], "malformed", "content type");
  const contentType = inner.subarray(1, 1 + inner[0]);
  need(
    contentType.every((byte) => byte >= 0x20 && byte <= 0x7e),
    "malformed",
    "content type",
  );
  return { contentType: contentType.toString("latin1"), payload: inner.subarray(1 + inner[0]) };
}

// Section 8. A key is { dek, dekId, purpose, tenant }; its tenant must be the context's, which the caller compares by giving the tenant's own context.

function checkHeader(sealed, kind, encodings) {
  const text = sealed.subarray(0, 10).toString("latin1");
  need(text !== "sealpoint:" && text !== "sealpoint-", "malformed", "a text form as bytes");
  need(sealed[0] === 0xc1, "plaintext_refused");
  const steps = [
    [[KINDS[kind]], "malformed"],
    [[1], "unsupported_version"],
    [[SUITE], "unsupported_suite"],
    [encodings, "unsupported_encoding"],
  ];
  steps.forEach(([known, code], index) => {
    need(sealed.length > index + 1, "malformed", "the header ends");
    need(known.includes(sealed[index + 1]), code);
  });
}

export function seal(key, context, contentType, payload, encoding, salt) {
  const inner = buildInner(contentType, payload, encoding);
  return sealBody(bodyKey(key.dek, key.purpose, key.dekId), header("data", encoding, key.dekId), context, salt, inner);
}

export function open(key, context, sealed) {
  checkHeader(sealed, "data", [PLAIN, PADDED]);
  need(sealed.length >= BODY + TAG && (sealed.length - BODY) % (CHUNK + TAG) >= TAG, "malformed", "length");
  need(sealed.subarray(5, HEADER).equals(key.dekId), "key_not_found");
  return parseInner(openBody(bodyKey(key.dek, key.purpose, key.dekId), sealed, context), sealed[4]);
}

// Section 6

export const wrap = (kek, context, secret, salt) => sealBody(wrapKey(kek), header("wrapped-key", PLAIN, kekId(kek)), context, salt, secret);

export function unwrap(kek, context, wrapped) {
  checkHeader(wrapped, "wrapped-key", [PLAIN]);
  need(wrapped.length === 125, "malformed", "length");
  need(wrapped.subarray(5, HEADER).equals(kekId(kek)), "key_not_found");
  return openBody(wrapKey(kek), wrapped, context);
}

// Section 5

export const toText = (bytes, kind) => `${PREFIXES[kind]}v1:${bytes.toString("base64url")}`;

export function fromText(text, kind) {
  need(/^sealpoint[:-]/.test(text), "plaintext_refused");
  need(text.startsWith(PREFIXES[kind]), "malformed", "another kind");
  need(text.startsWith(`${PREFIXES[kind]}v1:`), "unsupported_version");
  const bytes = Buffer.from(text.slice(PREFIXES[kind].length + 3), "base64url");
  need(toText(bytes, kind) === text && bytes[0] === 0xc1, "malformed", "base64url");
  return bytes;
}

// Section 6.3

export function exportKey({ dek, dekId, purpose, tenant, version }) {
  need(purpose === "client", "invalid_argument", "no other DEK is exported");
  const name = Buffer.from(tenant),
    check = keyCheck(dek, purpose, dekId, version, tenant);
  return toText(Buffer.concat([header("key", PURPOSES.client, dekId), uint(4, version), dek, check, uint(2, name.length), name]), "key");
}

export function importKey(text) {
  const bytes = fromText(text, "key");
  [
    [KINDS.key, "malformed"],
    [1, "unsupported_version"],
    [SUITE, "unsupported_suite"],
    [PURPOSES.client, "malformed"],
  ].forEach(([known, code], index) => {
    need(bytes.length > index + 1, "malformed", "it ends");
    need(bytes[index + 1] === known, code);
  });
  need(bytes.length > 91 && bytes.length === 91 + bytes.readUInt16BE(89) && bytes.length <= 91 + 1024, "malformed", "length");
  const [dekId, version, dek, check, name] = [
    bytes.subarray(5, 21),
    bytes.readUInt32BE(21),
    bytes.subarray(25, 57),
    bytes.subarray(57, 89),
    bytes.subarray(91),
  ];
  const tenant = name.toString();
  need(version > 0 && Buffer.from(tenant).equals(name), "malformed", "version or tenant");
  need(timingSafeEqual(keyCheck(dek, "client", dekId, version, tenant), check), "authentication_failed");
  return { dek, dekId, purpose: "client", tenant, version, keyCheck: check };
}
