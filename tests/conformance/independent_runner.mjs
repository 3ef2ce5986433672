/** The conformance runner of `independent.mjs`: builds what the vectors only summarize, and takes part in sealing and opening. Protocol: README.md. */
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

import * as spec from "./independent.mjs";
import { base64, bytes, payload, value } from "./js/forms.mjs";
import { serve } from "./js/stdio.mjs";

const VECTORS = new URL("../vectors/", import.meta.url);
const hex = (text) => Buffer.from(text, "hex");
const pairs = (form) => form.map(([key, item]) => [key, value(item)]);
const encoding = { plain: spec.PLAIN, padded: spec.PADDED };
const sha256 = (data) => createHash("sha256").update(data).digest("hex");

const key = ({ dek, dek_id: dekId, purpose, tenant, version }) => ({ dek: hex(dek), dekId: hex(dekId), purpose, tenant, version });
const wrapContext = (form) =>
  form.kek_uri === undefined ? spec.wrapContext(hex(form.dek_id), form.dek_purpose, form.tenant, form.dek_use) : spec.canaryContext(form.kek_uri);

function seal(cases, test) {
  const salt = randomBytes(24);
  if (test.op === "envelope") {
    const sealed = spec.seal(
      key(cases.keys[test.key]),
      spec.canonical(pairs(test.context)),
      test.content_type,
      Buffer.from(payload(test.payload)),
      Number(test.pad),
      salt,
    );
    return test.form === "text" ? spec.toText(sealed, "data") : base64(sealed);
  }
  if (test.op === "key") return spec.exportKey(key(cases.keys[test.key]));
  const secret = test.op === "canary" ? spec.canary(test.kek_uri) : hex(test.secret);
  return base64(spec.wrap(hex(cases.kek), wrapContext(test), secret, salt));
}

function open(cases, job) {
  try {
    if (job.op === "key") {
      const made = spec.importKey(job.sealed);
      const opened = spec.open(made, spec.canonical(pairs(job.context)), Buffer.from(bytes(job.envelope)));
      const [id, check] = [made.dekId.toString("hex"), made.keyCheck.toString("hex")];
      return { dek_id: id, tenant: made.tenant, version: made.version, key_check: check, sha256: sha256(opened.payload) };
    }
    if (job.op !== "envelope") return { hex: spec.unwrap(hex(cases.kek), wrapContext(job), Buffer.from(bytes(job.sealed))).toString("hex") };
    const sealed = job.form === "text" ? spec.fromText(job.sealed, "data") : Buffer.from(bytes(job.sealed));
    const opened = spec.open(key(cases.keys[job.key]), spec.canonical(pairs(job.context)), sealed);
    return { content_type: opened.contentType, len: opened.payload.length, sha256: sha256(opened.payload) };
  } catch (error) {
    if (error instanceof spec.Refused) return { code: error.code };
    throw error;
  }
}

const files = Object.fromEntries(
  readdirSync(VECTORS)
    .filter((name) => name.endsWith(".json"))
    .map((name) => [name.slice(0, -5), JSON.parse(readFileSync(new URL(name, VECTORS))).vectors]),
);
const byId = new Map(
  Object.values(files)
    .flat()
    .map((vector) => [vector.id, vector]),
);

function sealVector({ key: form, context, content_type: type, payload: data, encoding: name, salt }) {
  return spec.seal(key(form), spec.canonical(pairs(context)), type, Buffer.from(payload(data)), encoding[name], hex(salt));
}

/** README, envelopes. What is not written down is sealed here, with the vector's salt, and must have the digest that is. */
function envelopeBytes(vector) {
  const { hex: text, base, pieces, len, sha256: digest } = vector.envelope;
  if (text !== undefined) return hex(text);
  const made = pieces ? Buffer.concat(pieces.map(([start, end]) => envelopeBytes(byId.get(base)).subarray(start, end))) : sealVector(vector);
  if (made.length !== len || sha256(made) !== digest) throw new Error(`${vector.id}: built otherwise`);
  return made;
}

const same = (what, got, want) => {
  if (got !== want) throw new Error(`${what}: got ${got}, want ${want}`);
};

/** Its own known answers. */
const KNOWN = {
  "envelope/seal-open": (vector) => {
    same("sealed", base64(sealVector(vector)), base64(envelopeBytes(vector)));
    const { contentType, payload: data } = openVector(vector, envelopeBytes(vector));
    same("opened", `${contentType} ${base64(data)}`, `${vector.content_type} ${base64(payload(vector.payload))}`);
  },
  "envelope/open": (vector) => openVector(vector, envelopeBytes(vector)),
  "envelope/seal": sealVector,
  "wrap/wrap-unwrap": (vector) => {
    same("wrapped", spec.wrap(hex(vector.kek), wrapContext(vector), hex(vector.secret), hex(vector.salt)).toString("hex"), vector.wrapped);
    same("secret", unwrapVector(vector).toString("hex"), vector.secret);
  },
  "wrap/unwrap": (vector) => unwrapVector(vector),
  "text/open": (vector) => {
    const bytes = spec.fromText(vector.text, vector.kind),
      known = byId.get(vector.with);
    if (vector.kind === "data") openVector(known, bytes);
    else unwrapVector(known, bytes);
  },
  "context/canonical": (vector) => {
    const canonical = spec.canonical(pairs(vector.pairs));
    if (vector.expect === "ok") same("canonical", sha256(canonical), vector.canonical_summary?.sha256 ?? sha256(hex(vector.canonical_hex)));
  },
  "padding/bucket": ({ n, bucket }) => same("bucket", spec.bucket(n), bucket),
  "derive/expand": (vector) => same("output", spec.expand(hex(vector.key), hex(vector.info), vector.length).toString("hex"), vector.output),
  "derive/body-key": (vector) => same("output", spec.bodyKey(hex(vector.dek), vector.purpose, hex(vector.dek_id)).toString("hex"), vector.output),
  "derive/key-check": (vector) =>
    same("output", spec.keyCheck(hex(vector.dek), vector.purpose, hex(vector.dek_id), vector.version, vector.tenant).toString("hex"), vector.output),
  "derive/kek-id": (vector) => same("output", spec.kekId(hex(vector.kek)).toString("hex"), vector.output),
  "derive/wrap-key": (vector) => same("output", spec.wrapKey(hex(vector.kek)).toString("hex"), vector.output),
  "derive/canary": (vector) => same("output", spec.canary(vector.kek_uri).toString("hex"), vector.output),
  "derive/context-hash": (vector) => same("output", spec.contextHash(hex(vector.header), hex(vector.canonical)).toString("hex"), vector.output),
  "derive/cache-namespace": (vector) => same("output", spec.cacheNamespace(vector.tenant, vector.ns).toString("hex"), vector.output),
  "derive/stream-keys": (vector) => {
    const keys = spec.streamKeys(hex(vector.input_key), hex(vector.salt), hex(vector.ctx));
    same("output", Buffer.concat([keys.key, keys.baseNonce, keys.commitment]).toString("hex"), vector.output);
  },
};
const exported = ({ dek, dek_id: dekId, dek_purpose: purpose, version, tenant }) => ({ dek: hex(dek), dekId: hex(dekId), purpose, version, tenant });
KNOWN["exported-key/export"] = (vector) => spec.exportKey(exported(vector));
KNOWN["exported-key/import"] = ({ text }) => spec.importKey(text);
KNOWN["exported-key/export-import"] = (vector) => {
  same("text", spec.exportKey(exported(vector)), vector.text);
  same("bytes", spec.fromText(vector.text, "key").toString("hex"), vector.bytes_hex);
  same("dek", spec.importKey(vector.text).dek.toString("hex"), vector.dek);
};
KNOWN["wrap/canary-wrap-unwrap"] = KNOWN["wrap/wrap-unwrap"];
KNOWN["wrap/canary-unwrap"] = KNOWN["wrap/unwrap"];

const openVector = (vector, sealed) => spec.open(key(vector.key), spec.canonical(pairs(vector.context)), sealed);
const unwrapVector = (vector, wrapped = hex(vector.wrapped)) => spec.unwrap(hex(vector.kek), wrapContext(vector), wrapped);

/** The parts of the SPEC that are none of its own; every other file and `op` must be in KNOWN. */
const OUTSIDE = ["cbor", "manifest", "recovery", "store", "stored-key"];

/** Why a vector is none of its own. */
function outside(file, { op, pairs: form = [] }) {
  if (OUTSIDE.includes(file) || (file === "context" && op === "parse")) return "not a part of this decryptor";
  return pairs(form).some(([, item]) => item === undefined) ? "no string of JavaScript holds it" : undefined;
}

function vectors() {
  const [outcomes, unreachable, failures] = [{}, {}, []];
  for (const [file, list] of Object.entries(files)) {
    for (const vector of list) {
      const why = outside(file, vector);
      if (why !== undefined) {
        unreachable[why] = [...(unreachable[why] ?? []), vector.id];
        continue;
      }
      try {
        KNOWN[`${file}/${vector.op}`](vector);
        outcomes[vector.id] = "ok";
      } catch (error) {
        if (error instanceof spec.Refused) outcomes[vector.id] = error.code;
        else failures.push(`${vector.id}: ${error.message}`);
      }
      if (vector.id in outcomes && outcomes[vector.id] !== vector.expect) failures.push(`${vector.id}: got ${outcomes[vector.id]}, want ${vector.expect}`);
    }
  }
  return { outcomes, unreachable, failures, fresh: [] };
}

/** What a binding sealed afresh for a vector. */
function openFresh({ vector: id, sealed }) {
  const vector = byId.get(id),
    data = Buffer.from(bytes(sealed));
  if ("wrapped" in vector) return { hex: unwrapVector(vector, data).toString("hex") };
  const { contentType, payload: opened } = openVector(vector, data);
  return { content_type: contentType, len: opened.length, sha256: sha256(opened) };
}

/** What a runner needs for vectors and cannot make: envelopes that are only summarized, and key checks. */
function build() {
  const summarized = files.envelope.filter(({ envelope }) => envelope !== undefined && envelope.hex === undefined);
  const checks = [...files.envelope, ...files.store].map(({ id, key: { dek, dek_id: dekId, purpose }, context, tenant }) => {
    const whose = tenant ?? value(context.find(([name]) => name === "tenant")[1]);
    return [id, spec.keyCheck(hex(dek), purpose, hex(dekId), 1, whose).toString("hex")];
  });
  return { envelopes: Object.fromEntries(summarized.map((vector) => [vector.id, base64(envelopeBytes(vector))])), key_checks: Object.fromEntries(checks) };
}

await serve((order, { cases, jobs, fresh }) => {
  switch (order.do) {
    case "build":
      return build();
    case "vectors":
      return vectors();
    case "seal":
      return Object.fromEntries(cases.cases.filter(({ op }) => order.ops.includes(op)).map((test) => [test.id, seal(cases, test)]));
    case "open": {
      const tests = new Map(cases.cases.map((test) => [test.id, test]));
      return Object.fromEntries(jobs.filter(({ op }) => order.ops.includes(op)).map((job) => [job.id, open(cases, { ...tests.get(job.case), ...job })]));
    }
    case "fresh":
      return Object.fromEntries(fresh.map((item) => [item.vector, openFresh(item)]));
    default:
      throw new Error(`no such order: ${order.do}`);
  }
});
