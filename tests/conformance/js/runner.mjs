/**
 * The conformance runner of the npm package, in Node and in pages: what its public functions make of cases and vectors. Protocol: ../README.md.
 *
 * `sealpoint` is the package. With `bulk`, envelopes are sealed and opened by the asynchronous functions, and WebCrypto must have worked on the long ones.
 */
import { base64, bytes, fromHex, payload, sha256, toHex, value } from "./forms.mjs";
import { Vectors } from "./vectors.mjs";

const PURPOSES = { data: 1, index: 2, client: 3, audit: 4 };
/** From here on nobody can say that WebCrypto was not worth it. */
const SURELY_BULK = 64 << 10;

/** Nothing that the package offers does what a vector is about. */
export class Unreachable extends Error {}

export class Runner {
  constructor(sealpoint, { bulk = false, recovery } = {}) {
    this.api = sealpoint;
    this.recovery = recovery;
    this.bulk = bulk;
    this.ciphered = 0;
    if (bulk) this.#count();
  }

  /** What one line of the protocol asks for. `source` has the vectors' files. */
  async answer(order, { cases, jobs, built }, source) {
    switch (order.do) {
      case "vectors":
        return new Vectors(this, await source(), built).run();
      case "seal":
        return collect(
          cases.cases.filter(({ op }) => order.ops.includes(op)),
          (test) => this.seal(cases, test),
        );
      case "open": {
        const tests = new Map(cases.cases.map((test) => [test.id, test]));
        return collect(
          jobs.filter(({ op }) => order.ops.includes(op)),
          (job) => this.open(cases, { ...tests.get(job.case), ...job }),
        );
      }
      default:
        throw new Error(`no such order: ${order.do}`);
    }
  }

  context(pairs) {
    const once = Object.fromEntries(pairs.filter(([key], at) => pairs.findIndex(([other]) => other === key) === at).map(([key, form]) => [key, text(form)]));
    const again = pairs.filter(([key], at) => pairs.findIndex(([other]) => other === key) !== at);
    // A key that is there twice cannot be in an object twice: it extends.
    return again.reduce((made, [key, form]) => made.extend({ [key]: text(form) }), new this.api.Context(once));
  }

  key(form, tenant, version, keyCheck) {
    const record = { dekId: fromHex(form.dek_id), tenant, dekPurpose: PURPOSES[form.purpose], suite: 1, version, keyCheck };
    return this.api.DataKey.fromSecret(this.api.SecretKey.fromBytes(fromHex(form.dek)), record);
  }

  /** A DEK as text. */
  exported(form, purpose) {
    const record = { dekId: fromHex(form.dek_id), tenant: form.tenant, dekPurpose: PURPOSES[purpose], suite: 1, version: form.version };
    return this.api.exportKey(this.api.SecretKey.fromBytes(fromHex(form.dek)), record);
  }

  wrapContext(form) {
    if (form.kek_uri !== undefined) return this.api.canaryContext(form.kek_uri);
    const context = this.api.wrapContext({ tenant: form.tenant, dekId: fromHex(form.dek_id), dekPurpose: PURPOSES[form.dek_purpose], suite: 1 });
    return form.dek_use === undefined ? context : this.api.openOnlyContext(context);
  }

  /** An envelope, by whichever path this runner is about. */
  async sealBytes(key, data, context, options) {
    const before = this.ciphered;
    const sealed = this.bulk ? await key.sealAsync(data, context, options) : key.seal(data, context, options);
    this.#ciphered(data.length, before);
    return sealed;
  }

  async openSealed(key, sealed, context) {
    const before = this.ciphered;
    const opened = this.bulk ? await key.openTypedAsync(sealed, context) : key.openTyped(sealed, context);
    this.#ciphered(opened.payload.length, before);
    return opened;
  }

  async seal(cases, test) {
    const kek = this.api.LocalKek.parse(fromHex(cases.kek));
    switch (test.op) {
      case "envelope": {
        const options = { contentType: test.content_type, pad: test.pad };
        const [key, data, context] = [this.caseKey(cases, test), payload(test.payload), this.context(test.context)];
        if (test.form === "bytes") return base64(await this.sealBytes(key, data, context, options));
        return this.bulk ? this.api.toText(await this.sealBytes(key, data, context, options)) : key.sealText(data, context, options);
      }
      case "wrap":
        return base64(kek.wrap(this.api.SecretKey.fromBytes(fromHex(test.secret)), this.wrapContext(test)));
      case "canary":
        return base64(kek.wrap(this.api.canarySecret(test.kek_uri), this.wrapContext(test)));
      case "key":
        return this.exported(cases.keys[test.key], cases.keys[test.key].purpose);
      case "manifest": {
        const rest = { parent: test.parent, exact: test.exact, channels: channels(test.channels), metadata: fromHex(test.rest) };
        return base64(this.api.manifestPayload(fields(test.checkpoint, test.metadata), rest));
      }
      default:
        throw new Error(`no such op: ${test.op}`);
    }
  }

  async open(cases, job) {
    try {
      const sealed = job.op === "key" || job.form === "text" ? job.sealed : bytes(job.sealed);
      switch (job.op) {
        case "envelope": {
          const opened = await this.openSealed(this.caseKey(cases, job), sealed, this.context(job.context));
          return { content_type: opened.contentType, len: opened.payload.length, sha256: await sha256(opened.payload) };
        }
        case "wrap":
        case "canary":
          return { hex: toHex(this.api.LocalKek.parse(fromHex(cases.kek)).unwrap(sealed, this.wrapContext(job)).expose()) };
        case "key": {
          const key = this.api.DataKey.import(sealed);
          const held = { dek_id: toHex(key.dekId), tenant: key.tenant, version: key.version, key_check: toHex(key.keyCheck) };
          return { ...held, sha256: await sha256(key.open(bytes(job.envelope), this.context(job.context))) };
        }
        case "manifest": {
          const given = { parent: job.parent, channels: channels(job.channels) };
          const opened = this.api.manifestOpen(sealed, fields(job.checkpoint, job.metadata), given);
          return { hex: toHex(opened.metadata), parent: opened.parent };
        }
        default:
          throw new Error(`no such op: ${job.op}`);
      }
    } catch (error) {
      if (this.api.isSealpointError(error)) return { code: error.code };
      throw error;
    }
  }

  caseKey(cases, test) {
    const form = cases.keys[test.key];
    return this.key(form, form.tenant, form.version, fromHex(form.key_check));
  }

  #count() {
    for (const name of ["encrypt", "decrypt"]) {
      const real = SubtleCrypto.prototype[name];
      const runner = this;
      SubtleCrypto.prototype[name] = function (...given) {
        runner.ciphered++;
        return real.apply(this, given);
      };
    }
  }

  #ciphered(length, before) {
    if (this.bulk && length >= SURELY_BULK && this.ciphered === before) throw new Error(`${length} bytes went past WebCrypto`);
  }
}

async function collect(list, run) {
  const answers = {};
  for (const item of list) answers[item.id] = await run(item);
  return answers;
}

/** A context's value as this language has it. */
function text(form) {
  const read = value(form);
  if (read === undefined) throw new Unreachable("no string of JavaScript holds it");
  return typeof read === "bigint" && Number.isSafeInteger(Number(read)) ? Number(read) : read;
}

/** A value of a manifest. */
export function tree(form) {
  if (form === null || typeof form !== "object") return form;
  // JSON of the core carries integers of 64 bits; the SPEC's smallest have 65, and are refused.
  if (typeof form.int === "string" && BigInt(form.int) >= -(2n ** 64n) && BigInt(form.int) < -(2n ** 63n))
    throw new Unreachable("integers below -2^63 are refused in JavaScript");
  if (Array.isArray(form)) return form.map(tree);
  const [[name, item] = [], ...more] = Object.entries(form);
  if (more.length === 0 && name !== undefined) {
    if (["float", "int", "utf8_hex"].includes(name) && typeof item === "string") return text(form);
    if (name === "bytes_hex" && typeof item === "string") throw new Unreachable("a manifest's fields hold no bytes in JavaScript");
    if (name === "repeat" && item !== null && typeof item === "object") return text(form);
    if (name === "nested" && typeof item === "number") return Array.from({ length: item }).reduce((inner) => [inner], 0);
    if (name === "map" && Array.isArray(item)) {
      const entries = item.map(([key, entry]) => [tree(key), tree(entry)]);
      if (entries.some(([key]) => typeof key !== "string")) throw new Unreachable("no object of JavaScript has such a key");
      if (new Set(entries.map(([key]) => key)).size < entries.length) throw new Unreachable("no object of JavaScript has a key twice");
      return Object.fromEntries(entries);
    }
  }
  return Object.fromEntries(Object.entries(form).map(([key, entry]) => [key, tree(entry)]));
}

const CLEAR = ["source", "step", "parents", "run_id", "counters_since_delta_snapshot", "delta_writes_versioned"];

/** What a manifest covers. */
export function fields(checkpoint, metadata) {
  const read = tree(checkpoint);
  const clear = Object.fromEntries(Object.entries(tree(metadata)).filter(([key]) => CLEAR.includes(key)));
  return [...["v", "id", "ts", "channel_versions", "versions_seen", "updated_channels"].map((name) => read[name] ?? null), clear];
}

/** Envelopes with these first bytes of their commitment; a manifest asks for no more. Of a case (list) or a vector (object). */
export function channels(form) {
  const pairs = Array.isArray(form) ? form : Object.entries(form);
  return pairs.map(([name, commitment]) => [name, commitment === null ? null : fromHex(`c153010100${"00".repeat(40)}${commitment}${"00".repeat(33)}`)]);
}
