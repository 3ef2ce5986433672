/** Every vector of tests/vectors through the npm package's public functions. An unknown file, `op` or verdict fails. */
import { base64, bytes, fromHex, payload, sha256, toHex } from "./forms.mjs";
import { openItem, sealItem } from "./items.mjs";
import { channels, fields, tree, Unreachable } from "./runner.mjs";

const NO_HAZMAT = "not reachable without hazmat";
const NO_ASYNC = "has no asynchronous form";
const LARGEST_SEALED = 1 << 24;

export class Difference extends Error {}

export function check(what, got, want) {
  const [left, right] = [got, want].map((side) => (side instanceof Uint8Array ? toHex(side) : JSON.stringify(side)));
  if (left !== right) throw new Difference(`${what}: got ${String(left).slice(0, 120)}, want ${String(right).slice(0, 120)}`);
}

/** The same value with its keys in one order. */
export function sorted(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(sorted);
  return Object.keys(value)
    .sort()
    .map((key) => [key, sorted(value[key])]);
}

const framed = (recordHex) => (recordHex.length / 2).toString(16).padStart(8, "0") + recordHex;
const digest = (hex) => sha256(fromHex(toHex(new TextEncoder().encode("sealpoint/v1/manifest\0")) + hex));

export class Vectors {
  /** `built`: the envelopes that the files only summarize. */
  constructor(runner, { files, frozen }, built) {
    this.runner = runner;
    this.api = runner.api;
    this.files = files;
    this.frozen = frozen;
    this.built = built;
    this.byId = new Map(
      Object.values(files)
        .flat()
        .map((vector) => [vector.id, vector]),
    );
    this.fresh = [];
  }

  /** What became of each vector; throws if not all were there. */
  async run() {
    const [outcomes, unreachable, failures] = [{}, {}, []];
    let ran = 0;
    for (const [file, vectors] of Object.entries(this.files)) {
      const run = RUN[file];
      if (run === undefined) throw new Error(`tests/vectors/${file}.json is a file that this runner does not know`);
      for (const vector of vectors) {
        ran++;
        const op = run[vector.op];
        if (op === undefined) throw new Error(`${vector.id}: the op ${vector.op} is none that this runner knows`);
        try {
          if (this.runner.bulk && !(file === "envelope" || (file === "text" && vector.kind === "data"))) throw new Unreachable(NO_ASYNC);
          await op.call(this, vector);
          outcomes[vector.id] = "ok";
        } catch (error) {
          if (error instanceof Unreachable) unreachable[error.message] = [...(unreachable[error.message] ?? []), vector.id];
          else if (error instanceof Difference) failures.push(`${vector.id}: ${error.message}`);
          else if (this.api.isSealpointError(error)) outcomes[vector.id] = error.code;
          else throw new Error(`${vector.id}: ${error}`, { cause: error });
        }
        if (vector.id in outcomes && outcomes[vector.id] !== vector.expect) {
          failures.push(`${vector.id}: got ${outcomes[vector.id]}, want ${vector.expect}`);
        }
      }
    }
    check("vectors that ran, against the lines of FROZEN.sha256", ran, this.frozen);
    return { outcomes, unreachable, failures, fresh: this.fresh };
  }

  /** The vector's DEK, which belongs to the context's tenant. Its key check comes from whom the vectors come from. */
  keyOf({ id, key }, tenant) {
    return this.runner.key(key, tenant, 1, fromHex(this.built.key_checks[id]));
  }

  kekOf({ kek }) {
    return this.api.LocalKek.parse(fromHex(kek));
  }

  /** README, envelopes. */
  envelopeBytes({ id, envelope }) {
    return envelope.hex === undefined ? bytes(this.built.envelopes[id]) : fromHex(envelope.hex);
  }

  sealVector(vector, key, context) {
    return this.runner.sealBytes(key, payload(vector.payload), context, { contentType: vector.content_type, pad: vector.encoding === "padded" });
  }

  unwrapVector(vector, wrapped = fromHex(vector.wrapped)) {
    return this.kekOf(vector).unwrap(wrapped, this.runner.wrapContext(vector));
  }

  /** The classes of recovery keys. */
  recovery() {
    if (this.runner.recovery === undefined) throw new Unreachable("recovery keys need the native module");
    return this.runner.recovery;
  }

  /** The digest of `[value]` as the package writes it, against the one it should have. */
  async checkCbor(value, cborHex) {
    let made;
    try {
      made = this.api.manifestPayload([value], { parent: null, exact: true, channels: [], metadata: new Uint8Array() });
    } catch (error) {
      if (error.code === "limit_exceeded" && cborHex !== undefined) throw new Unreachable("one level too deep for a manifest");
      throw error;
    }
    if (cborHex === undefined) return;
    check("digest", toHex(made.subarray(9, 41)), await digest(`81${cborHex}`));
  }

  /** As the record of an empty checkpoint. */
  readRecord(recordHex) {
    this.api.manifestOpen(fromHex(framed(recordHex)), [], { parent: null, channels: [] });
  }
}

function noHazmat() {
  throw new Unreachable(NO_HAZMAT);
}

async function wrapUnwrap(vector) {
  const opened = this.unwrapVector(vector);
  check("secret", opened.expose(), fromHex(vector.secret));
  const made = this.kekOf(vector).wrap(opened, this.runner.wrapContext(vector));
  check("what is not random", [toHex(made.subarray(0, 21)), made.length], [vector.wrapped.slice(0, 42), 125]);
  this.fresh.push({ vector: vector.id, sealed: base64(made) });
}

const RUN = {
  context: {
    async canonical(vector) {
      const { canonical } = this.runner.context(vector.pairs);
      if (vector.expect !== "ok") return;
      if (vector.canonical_hex !== undefined) check("canonical", canonical, fromHex(vector.canonical_hex));
      else check("canonical", { len: canonical.length, sha256: await sha256(canonical) }, vector.canonical_summary);
    },
    parse(vector) {
      const pairs = Object.entries(this.api.Context.fromCanonical(fromHex(vector.canonical_hex)).pairs());
      if (vector.expect === "ok")
        check(
          "pairs",
          sorted(Object.fromEntries(pairs.map(([key, text]) => [key, toHex(new TextEncoder().encode(text))]))),
          sorted(Object.fromEntries(vector.pairs_hex)),
        );
    },
  },
  derive: {
    "key-check"(vector) {
      check("output", this.runner.key(vector, vector.tenant, vector.version, fromHex(vector.output)).keyCheck, fromHex(vector.output));
    },
    "kek-id"(vector) {
      if (/^0+$/.test(vector.kek)) throw new Unreachable("a KEK of zeros is refused");
      check("output", this.kekOf(vector).kekId, fromHex(vector.output));
    },
    canary(vector) {
      check("output", this.api.canarySecret(vector.kek_uri).expose(), fromHex(vector.output));
    },
    "cache-namespace"() {
      throw new Unreachable("the namespace of a cache is not given away by itself");
    },
    expand: noHazmat,
    "body-key": noHazmat,
    "wrap-key": noHazmat,
    "context-hash": noHazmat,
    "stream-keys": noHazmat,
  },
  padding: {
    /** By the length of what is sealed: the content type's length and the 0x80 count. */
    bucket({ n, bucket }) {
      if (n > LARGEST_SEALED) throw new Unreachable("too long to be sealed here");
      const { key } = this.api.DataKey.generate({ tenant: "acme" });
      const body = key.seal(new Uint8Array(n - 2), { tenant: "acme", purpose: "app.note" }, { pad: true }).length - 77;
      check("bucket", body - 16 * (Math.floor(body / 16_400) + 1), bucket);
    },
  },
  envelope: {
    async "seal-open"(vector) {
      const context = this.runner.context(vector.context);
      const [key, given] = [this.keyOf(vector, context.tenant), this.envelopeBytes(vector)];
      const opened = await this.runner.openSealed(key, given, context);
      check("content type", opened.contentType, vector.content_type);
      check("payload", await sha256(opened.payload), await sha256(payload(vector.payload)));
      const made = await this.sealVector(vector, key, context);
      check("what is not random", [toHex(made.subarray(0, 21)), made.length], [toHex(given.subarray(0, 21)), given.length]);
      this.fresh.push({ vector: vector.id, sealed: base64(made) });
    },
    async open(vector) {
      const context = this.runner.context(vector.context);
      await this.runner.openSealed(this.keyOf(vector, context.tenant), this.envelopeBytes(vector), context);
    },
    async seal(vector) {
      const context = this.runner.context(vector.context);
      await this.sealVector(vector, this.keyOf(vector, context.tenant), context);
    },
  },
  text: {
    async open({ kind, text, with: id, bytes_hex: hex, expect }) {
      check("isSealed", this.api.isSealed(text), /^sealpoint[:-]/.test(text));
      const known = this.byId.get(id);
      if (kind === "wrapped-key") this.unwrapVector(known, text);
      else {
        const context = this.runner.context(known.context);
        await this.runner.openSealed(this.keyOf(known, context.tenant), text, context);
      }
      if (expect !== "ok") return;
      check("bytes", this.api.fromText(text, kind), fromHex(hex));
      check("text", this.api.toText(fromHex(hex), kind), text);
    },
  },
  wrap: {
    "wrap-unwrap": wrapUnwrap,
    "canary-wrap-unwrap": wrapUnwrap,
    unwrap(vector) {
      this.unwrapVector(vector);
    },
    "canary-unwrap"(vector) {
      this.unwrapVector(vector);
    },
  },
  "stored-key": {
    /** Comparing whose key it is, and an absent key check, are a key store's. */
    "open-stored"({ record, caller, wrapped, kek, dek }) {
      if (record.tenant !== caller.tenant || record.purpose !== caller.purpose || record.key_check === null) {
        throw new Unreachable("refused by the key store, before a key is touched");
      }
      const opened = this.unwrapVector({ kek, wrapped, tenant: record.tenant, dek_id: record.dek_id, dek_purpose: record.purpose }).expose();
      const key = this.runner.key({ ...record, dek: toHex(opened) }, record.tenant, record.version, fromHex(record.key_check));
      check("dek", [toHex(opened), key.version], [dek, record.version]);
    },
  },
  "exported-key": {
    export(vector) {
      this.runner.exported(vector, vector.dek_purpose);
    },
    "export-import"(vector) {
      check("text", this.runner.exported(vector, vector.dek_purpose), vector.text);
      const key = this.api.DataKey.import(vector.text);
      check("key", [toHex(key.dekId), key.tenant, key.version, key.dekPurpose], [vector.dek_id, vector.tenant, vector.version, 3]);
    },
    import({ text }) {
      this.api.DataKey.import(text);
    },
  },
  recovery: {
    pair({ secret_text, public_text, recovery_id }) {
      const { RecoveryKey, RecoveryPublicKey } = this.recovery();
      const [key, other] = [RecoveryKey.fromText(secret_text), RecoveryPublicKey.fromText(public_text)];
      const made = [key.toText(), other.toText(), key.public.toText(), toHex(other.recoveryId)];
      check("pair", made, [secret_text, public_text, public_text, recovery_id]);
    },
    unwrap(vector) {
      const opened = this.recovery().RecoveryKey.fromText(vector.secret_text).unwrap(fromHex(vector.wrapped), this.runner.wrapContext(vector));
      check("dek", opened.expose(), fromHex(vector.dek));
    },
    "import-secret"({ text }) {
      this.recovery().RecoveryKey.fromText(text);
    },
    "import-public"({ text }) {
      this.recovery().RecoveryPublicKey.fromText(text);
    },
  },
  cbor: {
    /** By way of a manifest: the digest of what was encoded. */
    encode(vector) {
      return this.checkCbor(tree(vector.value), vector.cbor_hex);
    },
    /** Only manifest records are read: a bad item is refused as a record and in each place of one. */
    async decode({ cbor_hex: item, value, expect }) {
      if (expect === "ok") return this.checkCbor(tree(value), item);
      const good = ["01", "f5", `5820${await digest("80")}`, "f6", "80"];
      this.readRecord(`85${good.join("")}`);
      good.forEach((_, slot) => {
        let code = "ok";
        try {
          this.readRecord(`85${good.with(slot, item).join("")}`);
        } catch (error) {
          code = error.code;
        }
        // A cut-off head as the record's version takes the next byte along and is then a version that nobody knows.
        if (!(slot === 0 && code === "unsupported_version")) check(`in place ${slot}`, code, "malformed");
      });
      if (expect === "limit_exceeded") throw new Unreachable("a record nests three levels only: refused as malformed");
      this.readRecord(item);
    },
  },
  manifest: {
    build(vector) {
      const covered = fields(vector.checkpoint, vector.metadata);
      const rest = { parent: vector.parent, exact: vector.exact, channels: channels(vector.channels), metadata: fromHex("0102") };
      const made = this.api.manifestPayload(covered, rest);
      if (vector.expect === "ok") check("payload", toHex(made), `${framed(vector.record_hex)}0102`);
    },
    split(vector) {
      try {
        this.api.manifestOpen(fromHex(vector.payload_hex), [], { parent: null, channels: [] });
      } catch (error) {
        // Split and verified in one call: what a record does not bind differs here, and is refused after the split.
        if (vector.expect !== "ok" || error.code !== "authentication_failed") throw error;
        check("payload", vector.payload_hex, framed(vector.record_hex) + vector.metadata_hex);
      }
    },
    verify(vector) {
      const given = { parent: vector.parent, channels: channels(vector.channels) };
      const opened = this.api.manifestOpen(fromHex(`${framed(vector.record_hex)}0102`), fields(vector.checkpoint, vector.metadata), given);
      check("metadata", toHex(opened.metadata), "0102");
      if (vector.row_id !== vector.checkpoint.id) throw new Unreachable("step 1 is the saver's");
    },
  },
  store: {
    "seal-open"(vector) {
      const key = this.keyOf(vector, vector.tenant);
      check("value", sorted(openItem(this.api, key, vector, vector.stored)), sorted(vector.value));
      const sealed = sealItem(this.api, key, vector);
      check("lengths", sorted(lengths(sealed)), sorted(lengths(vector.stored)));
      check("value", sorted(openItem(this.api, key, vector, sealed)), sorted(vector.value));
    },
    open(vector) {
      openItem(this.api, this.keyOf(vector, vector.tenant), vector, vector.stored);
    },
  },
};

const lengths = (stored) => Object.fromEntries(Object.entries(stored).map(([name, value]) => [name, JSON.stringify(value).length]));
