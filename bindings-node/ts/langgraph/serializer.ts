/** SealedSerializer: for those who can only pass a serializer. */

import { JsonPlusSerializer, type SerializerProtocol } from "@langchain/langgraph-checkpoint";
import { _internal, Context, isSealed, type Keyring, type TenantSource } from "sealpoint";
import { checkKeyring, openTyped, sealText } from "./seals.js";

const { checkSource, FromConfig, fail, options, resolveTenant } = _internal;

/** All that LangGraph's savers hand back as it was: some drop the type, some keep text only, some parse it. */
const TYPE = "json";
const PAD_BELOW = 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface SealedSerializerOptions {
  /** `fixed("acme")`, or a function, which is called with undefined. `fromConfig` cannot work here and is refused. */
  tenant: TenantSource;
  /** Serializes before sealing; LangGraph's default if it is not given. */
  inner?: SerializerProtocol;
}

/**
 * A LangGraph serializer whose output is sealed for one tenant: an envelope in text form as a JSON string. Prefer `SealedSaver`.
 *
 * It works with MemorySaver, SqliteSaver (without filters on metadata), and caches. PostgresSaver fails on the first write, since it wants metadata as an object; it
 * would keep checkpoints as readable JSON, too. MongoDBSaver stores metadata a second time in the clear, and RedisSaver takes no serializer. Use `SealedSaver` there.
 *
 * A serializer sees neither the row nor the config, so this leaves open what `SealedSaver` closes: values are bound to the tenant, not to their place. Whoever writes
 * the database can move them between threads, checkpoints and channels of one tenant, or put an older value back, and they open.
 */
export class SealedSerializer implements SerializerProtocol {
  readonly #keyring: Keyring;
  readonly #source: TenantSource;
  readonly #serde: SerializerProtocol;

  /** Throws: `invalid_argument`. */
  constructor(keyring: Keyring, given: SealedSerializerOptions) {
    const { tenant, inner = new JsonPlusSerializer() } = options(given, ["tenant", "inner"]);
    this.#keyring = checkKeyring(keyring);
    this.#source = checkSource(tenant);
    this.#serde = inner;
    if (this.#source instanceof FromConfig) throw fail("invalid_argument", "a serializer sees no config: use fixed(…), a function, or SealedSaver");
    if (inner instanceof SealedSerializer || typeof inner.dumpsTyped !== "function") {
      throw fail("invalid_argument", "inner is a serializer that does not seal");
    }
  }

  /** The serializer that works before sealing. */
  get inner(): SerializerProtocol {
    return this.#serde;
  }

  /** Sets up the keyring. */
  async setup(): Promise<void> {
    await this.#keyring.setup();
  }

  async dumpsTyped(value: unknown): Promise<[string, Uint8Array]> {
    const at = this.#context();
    const [contentType, payload] = await this.#serde.dumpsTyped(value);
    const envelope = await sealText(this.#keyring, payload, at, { contentType, pad: payload.length <= PAD_BELOW });
    return [TYPE, encoder.encode(JSON.stringify(envelope))];
  }

  /** Throws: `plaintext_refused` (anything that is not sealed), and what opening throws. */
  async loadsTyped(type: string, data: Uint8Array | string): Promise<unknown> {
    const at = this.#context();
    const envelope = type === TYPE ? quoted(data) : undefined;
    if (envelope === undefined || !isSealed(envelope)) {
      throw fail("plaintext_refused", "a stored value is not sealed: it was written without SealedSerializer, or was replaced");
    }
    const { contentType, payload } = await openTyped(this.#keyring, envelope, at);
    return this.#serde.loadsTyped(contentType, payload);
  }

  #context(): Context {
    return new Context({ tenant: resolveTenant(this.#source, undefined), purpose: "langgraph.value" });
  }
}

/** The string in stored JSON; undefined if there is none. */
function quoted(data: Uint8Array | string): string | undefined {
  try {
    const value: unknown = JSON.parse(typeof data === "string" ? data : decoder.decode(data));
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
