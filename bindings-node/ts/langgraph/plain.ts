/**
 * Serialized values as plain JSON values, whichever language wrote them. Nothing that they name is imported, built or called.
 *
 * docs/GUIDE.md ("Python and JavaScript on one database") has the mapping; `sealpoint/langgraph/plain.py` is its twin.
 */

import type { SerializerProtocol } from "@langchain/langgraph-checkpoint";
import { _internal } from "sealpoint";

const { fail } = _internal;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const REASON = Symbol("no plain form");

/** A value as JSON holds it. */
export type Plain = null | boolean | number | string | Plain[] | { [name: string]: Plain };

type Entries = Record<string, unknown>;

/** Why a value, or the map that it was merged into, has no plain form; undefined: it has one. Takes the mark away. */
export function reasonIn(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || !(REASON in value)) return undefined;
  const reason = value[REASON] as string;
  delete (value as { [REASON]?: unknown })[REASON];
  return reason;
}

/** Reads what LangGraph's serializers of either language wrote: a plain value, or a mark that says why there is none. */
export class PlainSerializer implements SerializerProtocol {
  async dumpsTyped(): Promise<[string, Uint8Array]> {
    throw fail("internal", "plain values are only read");
  }

  /** Throws: `missing_dependency` (the package that reads Python's MessagePack is not installed). */
  async loadsTyped(type: string, data: Uint8Array | string): Promise<unknown> {
    const payload = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const unpack = type === "msgpack" ? await unpacker() : undefined;
    try {
      if (type === "null") return null;
      if (type === "bytes" || type === "bytearray") return plain(payload);
      if (type === "json") return plain(revived(JSON.parse(decoder.decode(payload))));
      if (unpack !== undefined) return unpack(payload);
    } catch (error) {
      const reason = error instanceof NotPlain ? error.message : `it does not parse as ${type}, or is nested too deeply`;
      return { [REASON]: reason };
    }
    return { [REASON]: `its content type is ${JSON.stringify(type)}, which is read by the serializer that wrote it alone` };
  }
}

class NotPlain extends Error {}

function plain(value: unknown): Plain {
  switch (typeof value) {
    case "undefined":
      return null;
    case "boolean":
    case "string":
      return value;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return { base64: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  if (Object.getPrototypeOf(value) !== Object.prototype) throw new NotPlain("MessagePack of another kind than LangGraph's");
  return Object.fromEntries(Object.entries(value as Entries).map(([key, entry]) => [key, plain(entry)]));
}

// -- Python's serializer

const [SINGLE_ARG, POS_ARGS, KW_ARGS, METHOD_SINGLE_ARG, PYDANTIC_V1, PYDANTIC_V2, NUMPY_ARRAY, DELTA_SNAPSHOT] = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** A value that is plain already. */
class Done {
  constructor(readonly value: Plain) {}
}

/** Where LangGraph in Python puts an envelope, or the snapshot of a delta channel that holds one, as MessagePack. Throws: `malformed`, `missing_dependency`. */
export async function containerIn(payload: Uint8Array): Promise<unknown> {
  const { decode, ExtensionCodec } = await msgpack();
  const extensionCodec = new ExtensionCodec();
  extensionCodec.register({
    type: DELTA_SNAPSHOT,
    encode: () => null,
    decode: (data) => ({ lc: 2, type: "delta_snapshot", value: decode(data, { extensionCodec }) }),
  });
  try {
    return decode(payload, { extensionCodec });
  } catch {
    throw fail("malformed", "a stored msgpack value does not parse: the row is damaged");
  }
}

async function unpacker(): Promise<(payload: Uint8Array) => Plain> {
  const { decode, ExtData, ExtensionCodec } = await msgpack();
  const extensionCodec = new ExtensionCodec();
  const unpack = (payload: Uint8Array): Plain => unmarked(decode(payload, { extensionCodec, useBigInt64: true, mapKeyConverter: markedKey }));
  /** Keys are marked, so that of two that are one in JSON none is lost. */
  const unmarked = (value: unknown): Plain => {
    if (value instanceof Done) return value.value;
    if (value instanceof ExtData) throw new NotPlain(`it holds MessagePack's extension type ${value.type}, which is not LangGraph's`);
    if (Array.isArray(value)) return value.map(unmarked);
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return plain(value);
    const entries = Object.entries(value).map(([key, entry]): [string, Plain] => [key.slice(1), unmarked(entry)]);
    if (new Set(entries.map(([key]) => key)).size < entries.length) throw new NotPlain("two keys of a map are one in JSON");
    return Object.fromEntries(entries);
  };
  const register = (type: number, decode: (data: Uint8Array) => Plain) =>
    extensionCodec.register({ type, encode: () => null, decode: (data) => new Done(decode(data)) });
  for (const type of [SINGLE_ARG, POS_ARGS, KW_ARGS, METHOD_SINGLE_ARG, PYDANTIC_V1, PYDANTIC_V2]) register(type, (data) => ofCall(inner(unpack, data)));
  register(DELTA_SNAPSHOT, (data) => inner(unpack, data));
  register(NUMPY_ARRAY, () => {
    throw new NotPlain("it holds a numpy array");
  });
  return unpack;
}

function inner(unpack: (payload: Uint8Array) => Plain, data: Uint8Array): Plain {
  try {
    return unpack(data);
  } catch (error) {
    throw error instanceof NotPlain ? error : new NotPlain("an object in it does not parse, or is nested too deeply");
  }
}

function markedKey(key: unknown): string {
  if (typeof key === "string") return `s${key}`;
  const scalar = key === null || ["boolean", "bigint"].includes(typeof key) || (typeof key === "number" && Number.isFinite(key));
  if (!scalar) throw new NotPlain("a map has keys that are no names");
  return `k${String(key)}`;
}

/** An object by the arguments that it would be built with. */
function ofCall(call: Plain): Plain {
  if (!Array.isArray(call) || call.length < 3 || typeof call[0] !== "string" || typeof call[1] !== "string") {
    throw new NotPlain("an object in it is none of LangGraph's");
  }
  const [module, name, argument] = call as [string, string, Plain];
  return SHAPES[`${module.split(".")[0]}.${name}`]?.(argument) ?? argument;
}

/** Those whose arguments are less plain than what one would write, by top module and name. */
const SHAPES: Record<string, ((argument: Plain) => Plain | undefined) | undefined> = {
  "uuid.UUID": (digits) => (typeof digits === "string" ? digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-") : undefined),
  "datetime.date": (parts) => {
    if (!Array.isArray(parts) || parts.length !== 3) return undefined;
    const [year, month, day] = parts;
    return `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}-${String(day).padStart(2, "0")}`;
  },
  "pathlib.PosixPath": (parts) => (Array.isArray(parts) ? parts.join("/").replace(/^\/\//, "/") || "." : undefined),
  "pathlib.WindowsPath": (parts) => (Array.isArray(parts) ? parts.join("\\").replace("\\\\", "\\") || "." : undefined),
  "langgraph.Send": (parts) => {
    if (!Array.isArray(parts)) return undefined;
    return Object.fromEntries(["node", "args", "timeout"].slice(0, parts.length).map((name, i) => [name, parts[i] as Plain]));
  },
};

async function msgpack(): Promise<typeof import("@msgpack/msgpack")> {
  try {
    return await import("@msgpack/msgpack");
  } catch {
    throw fail("missing_dependency", "reading what Python wrote needs MessagePack: npm install @msgpack/msgpack");
  }
}

// -- JavaScript's serializer

const MESSAGES: Record<string, string | undefined> = {
  HumanMessage: "human",
  AIMessage: "ai",
  SystemMessage: "system",
  ToolMessage: "tool",
  FunctionMessage: "function",
  ChatMessage: "chat",
  RemoveMessage: "remove",
};

/** JSON whose records of objects (`lc`) are replaced by what they hold. */
function revived(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null) return value;
  const record: Entries = Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, revived(entry)]));
  const own = (name: string): unknown => (Object.hasOwn(record, name) ? record[name] : undefined);
  const [lc, kind, ids] = [own("lc"), own("type"), own("id")];
  if (lc === 2 && kind === "undefined") return null;
  if (lc === 2 && kind === "delta_snapshot" && Object.hasOwn(record, "value")) return record.value;
  const name = Array.isArray(ids) ? ids.at(-1) : undefined;
  if ((lc === 1 || lc === 2) && kind === "constructor" && typeof name === "string") {
    return (lc === 1 ? ofKwargs(name, own("kwargs")) : ofArgs(name, own("args"))) ?? record;
  }
  return record;
}

function ofKwargs(name: string, kwargs: unknown): unknown {
  if (typeof kwargs !== "object" || kwargs === null || Array.isArray(kwargs)) return undefined;
  const plainName = name.replace(/Chunk$/, "");
  const type = Object.hasOwn(MESSAGES, plainName) ? MESSAGES[plainName] : undefined;
  return type === undefined ? kwargs : { type, ...kwargs };
}

function ofArgs(name: string, args: unknown): unknown {
  if (!Array.isArray(args)) return undefined;
  if (args.length !== 1) return args;
  const [only] = args;
  if (!Array.isArray(only)) return only;
  // A map of names is an object, another one stays a list of pairs.
  if (name === "Map" && only.every((pair) => Array.isArray(pair) && pair.length === 2 && typeof pair[0] === "string")) return Object.fromEntries(only);
  if (name === "Uint8Array" && only.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255)) return Uint8Array.from(only);
  return only;
}
