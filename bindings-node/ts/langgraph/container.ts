/**
 * The serializer of what holds envelopes.
 *
 * A saver deserializes a row before anybody can authenticate it. LangGraph's own serializer revives what the row names, LangChain's classes among it, so whoever
 * writes the database could have objects made by a crafted row, sealed values or not. What the wrapper stores needs none of that: plain JSON and envelopes. So the
 * inner saver reads and writes with this serializer, and only the payload of an authenticated envelope meets the application's own.
 */

import type { BaseCheckpointSaver, SerializerProtocol } from "@langchain/langgraph-checkpoint";
import { _internal, isSealpointError, toText } from "sealpoint";

const { fail } = _internal;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Plain JSON, and bytes where a saver keeps them by themselves. */
export class ContainerSerializer implements SerializerProtocol {
  async dumpsTyped(data: unknown): Promise<[string, Uint8Array]> {
    if (data instanceof Uint8Array) return ["bytes", data];
    if (isCheckpoint(data)) return ["json", serialized(data)];
    return ["json", encoder.encode(JSON.stringify(Array.isArray(data) ? data.map(inJson) : data))];
  }

  async loadsTyped(type: string, data: Uint8Array | string): Promise<unknown> {
    if (type === "bytes") return data;
    if (type !== "json") {
      throw fail("plaintext_refused", "a row has a type that SealedSaver never writes: it was stored without it, or was replaced");
    }
    try {
      return JSON.parse(typeof data === "string" ? data : decoder.decode(data));
    } catch {
      throw fail("malformed", "a stored value does not parse: the row is damaged");
    }
  }
}

/** Savers put envelopes from where bytes are into a list in JSON (`__pregel_tasks` of old checkpoints): they are text there. */
function inJson(value: unknown): unknown {
  return value instanceof Uint8Array ? toText(value) : value;
}

/** An envelope that is text wherever its bytes would get into JSON: a saver may copy a checkpoint by JSON before it is serialized. */
export function textInJson(envelope: Uint8Array): Uint8Array {
  return Object.defineProperty(envelope, "toJSON", { value: () => toText(envelope) });
}

type Checkpoint = { readonly channel_values: Readonly<Record<string, unknown>> };

function isCheckpoint(data: unknown): data is Checkpoint {
  const values = (data as Partial<Checkpoint> | null)?.channel_values;
  return typeof values === "object" && values !== null;
}

/** A checkpoint as JSON. Its values are most of it, and envelopes need no escapes: as text they are copied to where they belong. */
function serialized({ channel_values, ...rest }: Checkpoint): Uint8Array {
  const parts = ['{"channel_values":{'];
  let comma = "";
  for (const [name, value] of Object.entries(channel_values)) {
    const json = value instanceof Uint8Array ? `"${toText(value)}"` : JSON.stringify(value);
    if (json === undefined) continue;
    parts.push(`${comma}${JSON.stringify(name)}:`, json);
    comma = ",";
  }
  const others = JSON.stringify(rest);
  parts.push(others === "{}" ? "}" : "},", others.slice(1));
  return joined(parts);
}

/** What has no character beyond ASCII takes as many bytes as it has characters, and is copied. */
function joined(parts: readonly string[]): Uint8Array {
  const lengths = parts.map((part) => Buffer.byteLength(part));
  const out = Buffer.allocUnsafeSlow(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const [i, part] of parts.entries()) at += out.write(part, at, lengths[i] === part.length ? "latin1" : "utf8");
  return out;
}

/** Reads what was stored before sealing, too, with the application's own serializer: for a tenant that migrates, and for nobody else. */
class LegacySerializer extends ContainerSerializer {
  constructor(readonly own: SerializerProtocol) {
    super();
  }

  override async loadsTyped(type: string, data: Uint8Array | string): Promise<unknown> {
    if (type === "bytes") return data; // an envelope, or bytes that are not sealed
    try {
      return await this.own.loadsTyped(type, data);
    } catch (error) {
      if (isSealpointError(error)) throw error;
      throw fail("malformed", "a stored value that is not sealed cannot be read: the row is damaged, or another serializer wrote it");
    }
  }
}

/** The saver with another serializer: all else, such as its connection and whether it is set up, is the inner saver's own, which is not changed. */
export function storageFor(inner: BaseCheckpointSaver): BaseCheckpointSaver {
  return withSerde(inner, new ContainerSerializer());
}

/** The same, reading also what was stored before sealing. */
export function legacyStorageFor(inner: BaseCheckpointSaver): BaseCheckpointSaver {
  return withSerde(inner, new LegacySerializer(inner.serde));
}

function withSerde(inner: BaseCheckpointSaver, serde: SerializerProtocol): BaseCheckpointSaver {
  return Object.create(inner, { serde: { value: serde, writable: true, enumerable: true, configurable: true } }) as BaseCheckpointSaver;
}
