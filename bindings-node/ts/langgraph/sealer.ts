/** What a checkpoint looks like sealed (SPEC section 7): the only place that seals or opens one. */

import type {
  ChannelVersions,
  Checkpoint,
  CheckpointMetadata,
  CheckpointPendingWrite,
  CheckpointTuple,
  PendingWrite,
  SerializerProtocol,
} from "@langchain/langgraph-checkpoint";
import { DeltaSnapshot } from "@langchain/langgraph-checkpoint";
import {
  _internal,
  type Context,
  fromText,
  isSealed,
  isSealpointError,
  type Keyring,
  type ManifestFields,
  type ManifestValue,
  manifestOpen,
  manifestPayload,
  type Opened,
  type SealpointError,
  type TenantConfig,
} from "sealpoint";
import type { Window } from "../migration.js";
import type { Asked } from "./configs.js";
import { textInJson } from "./container.js";
import type { Layout } from "./layouts.js";
import { CLEAR, type Entries, matches, SEALED_KEY, split } from "./metadata.js";
import { type Position, position, TASKS } from "./positions.js";
import { beginning, dekIdOf, isWorthKeeping, Kept, SealedValues } from "./reuse.js";

const { fail } = _internal;

const KNOWN_FIELDS = new Set(["v", "id", "ts", "channel_values", "channel_versions", "versions_seen", "updated_channels"]);
const OPENING_BRACE = 0x7b;
const PAD_BELOW = 1024;
const PAD_CHARACTERS = 256;

type Envelope = string | Uint8Array;
type Listed = readonly (readonly [string, Envelope | null])[];

/** What the inner saver gets, and what to keep once it has it. */
export interface Sealed {
  readonly checkpoint: Checkpoint;
  readonly metadata: CheckpointMetadata;
  readonly at: Position;
  readonly kept: ReadonlyMap<string, Kept>;
}

/** How a row is opened. */
export interface Opening {
  /** Metadata that the row must have, else it is no answer. */
  readonly wanted?: Entries | undefined;
  /** Just these channels are opened. */
  readonly only?: ReadonlySet<string> | undefined;
  /** A parent that it was sealed with must still be there: a walk along parents would end too early unnoticed. */
  readonly linked?: boolean;
  /** Open, it lets unsealed data through where a migration leaves some. */
  readonly window?: Window | undefined;
}

/** One value of a checkpoint on its way in. */
interface Planned {
  readonly name: string;
  readonly value: unknown;
  readonly context: Context;
  readonly kind: "channel" | "snapshot" | "field";
  /** Whether the manifest names it, and with its commitment. */
  readonly listed: "commitment" | "presence" | false;
  /** What may be stored again in place of sealing. */
  readonly kept: Kept | undefined;
}

export class Sealer {
  readonly reuse = new SealedValues();

  constructor(
    readonly keyring: Keyring,
    readonly serde: SerializerProtocol,
    readonly layout: Layout,
    readonly tenantKey: string | undefined,
  ) {}

  // -- sealing

  /** The checkpoint sealed. Call `stored` when the inner saver has it. All values are serialized before anything is awaited, as a bare saver does. */
  async put(
    tenant: string,
    config: TenantConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions | undefined,
  ): Promise<Sealed> {
    const { thread_id, checkpoint_ns, checkpoint_id } = config.configurable ?? {};
    const at = position(tenant, String(thread_id), namespace(checkpoint_ns));
    const before = checkpoint_id === undefined || checkpoint_id === null ? null : String(checkpoint_id);
    const { clear, rest } = split(metadata ?? {});
    const given = this.layout.knownFieldsOnly ? withKnownFields(checkpoint) : { ...checkpoint };
    const { plan, absent } = this.#plan(at, given, newVersions ?? {}, before === null);
    const dumping = plan.map((one) => (one.kept === undefined ? this.#dumps(one.value) : undefined));
    const [[kind, payload], dumped] = await Promise.all([this.#dumps(rest), Promise.all(dumping)]);

    if (kind === "json" && payload[0] !== OPENING_BRACE) {
      // LangGraph's serializer then writes a remark in place of the whole, which could not be read as metadata again.
      throw fail(
        "invalid_argument",
        `thread ${JSON.stringify(at.thread.slice(0, 100))}: its metadata (or what is configurable) holds a BigInt, or an object that JSON cannot hold: take it out`,
      );
    }
    let envelopes = await this.#sealAll(plan, dumped);
    const manifest = () =>
      manifestPayload(fieldsOf(given, clear), {
        parent: before,
        exact: this.layout.exact,
        channels: [
          ...absent.map((name) => [name, null] as const),
          ...plan.flatMap((one, i): Listed => (one.listed ? [[one.name, one.listed === "commitment" ? beginning(envelopes[i] as Envelope) : null]] : [])),
        ],
        metadata: payload,
      });
    const context = at.metadata.extend({ checkpoint: String(checkpoint.id) });
    let text = await this.#seal(manifest(), context, kind, true, true);
    // Whatever was just sealed names the active key: an envelope that was kept from before a rotation must not live on.
    const active = plan.some((one) => one.kept !== undefined) ? dekIdOf(text) : "";
    if (plan.some((one) => one.kept !== undefined && one.kept.dekId !== active)) {
      const fresh = plan.map((one) => ({ ...one, kept: undefined }));
      envelopes = await this.#sealAll(fresh, await Promise.all(fresh.map((one, i) => dumped[i] ?? this.#dumps(one.value))));
      text = await this.#seal(manifest(), context, kind, true, true);
    }

    const sealed: Entries = { ...given };
    const values: [string, unknown][] = [];
    const keeping = new Map<string, Kept>();
    plan.forEach((one, i) => {
      const envelope = envelopes[i] as Envelope;
      if (one.kind === "field") sealed[one.name] = envelope;
      else values.push([one.name, one.kind === "snapshot" ? marked(envelope) : envelope]);
      // What a step left as it was, the next one may leave too; what changes at each step is not worth the memory.
      if (one.kind !== "channel" || Object.hasOwn(newVersions ?? {}, one.name) || !isWorthKeeping(one.value, envelope)) return;
      keeping.set(one.name, one.kept?.envelope === envelope ? one.kept : new Kept(own(given.channel_versions, one.name), one.value, envelope));
    });
    sealed.channel_values = Object.fromEntries(values);
    clear[SEALED_KEY] = text;
    return { checkpoint: sealed as unknown as Checkpoint, metadata: clear as unknown as CheckpointMetadata, at, kept: keeping };
  }

  /** Not before: of what failed to be stored, the next checkpoint must hold it all. */
  stored(sealed: Sealed): void {
    if (!this.layout.newVersionsOnly) this.reuse.keep(sealed.at, sealed.kept);
  }

  /** The pending writes of a task, sealed. */
  async writes(tenant: string, config: TenantConfig, writes: readonly PendingWrite[], taskId: string): Promise<PendingWrite[]> {
    const { thread_id, checkpoint_ns, checkpoint_id } = config.configurable ?? {};
    const at = position(tenant, String(thread_id), namespace(checkpoint_ns));
    const dumped = await Promise.all(writes.map(([, value]) => this.#dumps(value)));
    const sealed: PendingWrite[] = [];
    for (const [i, [channel, value]] of writes.entries()) {
      const [kind, payload] = dumped[i] as [string, Uint8Array];
      const context = channel === TASKS ? at.tasks : at.write.extend({ checkpoint: String(checkpoint_id), task: String(taskId), channel });
      const envelope = this.#seal(payload, context, kind, isPadded(value, payload), !this.layout.bytes);
      sealed.push([channel, envelope instanceof Promise ? await envelope : envelope]);
    }
    return sealed;
  }

  /** Called at once, but a serializer that throws rejects as well: nothing that was started is left alone. */
  async #dumps(value: unknown): Promise<[string, Uint8Array]> {
    return this.serde.dumpsTyped(value);
  }

  /** What is to be stored, and the names of what the saver has already and its manifest lists. */
  #plan(at: Position, checkpoint: Checkpoint, newVersions: ChannelVersions, first: boolean): { plan: Planned[]; absent: string[] } {
    const { exact, newVersionsOnly } = this.layout;
    const kept = newVersionsOnly ? undefined : this.reuse.of(at);
    const apart = areTasksApart(checkpoint) ? TASKS : undefined;
    const plan: Planned[] = [];
    const absent: string[] = [];
    for (const [name, value] of Object.entries(checkpoint.channel_values ?? {})) {
      if (!this.layout.bytes && isNothing(value)) continue;
      const version = own(checkpoint.channel_versions, name);
      const isNew = Object.hasOwn(newVersions, name);
      const stored = isNew || !newVersionsOnly;
      const snapshot = snapshotted(value);
      // A saver with a table for values gives back only what has a version, and on a thread's first checkpoint only what is new.
      const isListed = name !== apart && (exact || (version !== undefined && (stored || !first)));
      const listed = isListed && (exact && !snapshot ? "commitment" : "presence");
      if (!stored) {
        if (listed) absent.push(name);
        continue;
      }
      if (snapshot) plan.push({ name, value: snapshot.value, context: at.delta.extend({ channel: name }), kind: "snapshot", listed, kept: undefined });
      else if (name === apart) plan.push({ name, value, context: at.tasks, kind: "channel", listed, kept: undefined });
      else {
        const entry = isNew ? undefined : kept?.get(name);
        plan.push({ name, value, context: at.of(name, versionOf(version)), kind: "channel", listed, kept: entry?.holds(version, value) ? entry : undefined });
      }
    }
    for (const [field, value] of Object.entries(checkpoint)) {
      if (KNOWN_FIELDS.has(field) || value === undefined || isNothing(value)) continue;
      const context = at.field.extend({ checkpoint: String(checkpoint.id), field });
      plan.push({ name: field, value, context, kind: "field", listed: false, kept: undefined });
    }
    return { plan, absent };
  }

  async #sealAll(plan: readonly Planned[], dumped: readonly ([string, Uint8Array] | undefined)[]): Promise<Envelope[]> {
    const envelopes: Envelope[] = [];
    for (const [i, one] of plan.entries()) {
      const text = one.kind !== "channel" || !(this.layout.bytes || this.layout.serializesWhole);
      if (one.kept !== undefined) {
        const { envelope } = one.kept;
        envelopes.push(text || typeof envelope !== "string" ? envelope : textInJson(fromText(envelope)));
        continue;
      }
      const [kind, payload] = dumped[i] as [string, Uint8Array];
      const envelope = this.#seal(payload, one.context, kind, isPadded(one.value, payload), text);
      const done = envelope instanceof Promise ? await envelope : envelope;
      envelopes.push(this.layout.serializesWhole && typeof done !== "string" ? textInJson(done) : done);
    }
    return envelopes;
  }

  /** At once where the tenant's active key is held. */
  #seal(payload: Uint8Array, context: Context, contentType: string, pad: boolean, text: boolean): Envelope | Promise<Envelope> {
    const { keyring } = this;
    const how = { contentType, pad };
    if (text) return keyring._cache.sealText(payload, context, how) ?? keyring.sealText(payload, context, how);
    return keyring._cache.seal(payload, context, how) ?? keyring.seal(payload, context, how);
  }

  // -- opening

  /** The row, verified and opened; undefined if its metadata is not what is `wanted`. */
  async openTuple(tenant: string, found: CheckpointTuple, asked: Asked, how: Opening = {}): Promise<CheckpointTuple | undefined> {
    try {
      return await this.#openTuple(tenant, found, asked, how);
    } catch (error) {
      throw where(error, `thread ${JSON.stringify(String(found.config?.configurable?.thread_id).slice(0, 100))}`);
    }
  }

  async #openTuple(tenant: string, found: CheckpointTuple, asked: Asked, how: Opening): Promise<CheckpointTuple | undefined> {
    const [at, id] = this.#placed(tenant, found, asked);
    const row = found.metadata as unknown as Entries;
    const unsealed = Object.hasOwn(row, SEALED_KEY) ? undefined : how.window;
    const metadata = unsealed ? this.#unsealedMetadata(tenant, found) : await this.#openMetadata(at, id, found, how);
    if (how.wanted !== undefined && !matches(metadata, how.wanted, this.layout.filtersContain)) return undefined;
    let checkpoint = found.checkpoint;
    if (unsealed) unsealed.let("checkpoints");
    else checkpoint = await this.#openCheckpoint(at, id, checkpoint, how);
    const opened: CheckpointTuple = { ...found, checkpoint, metadata: metadata as unknown as CheckpointMetadata };
    if (found.pendingWrites) opened.pendingWrites = await this.#openWrites(at, id, found.pendingWrites, how);
    return opened;
  }

  /** Where the saver says that the row lies, after comparing it with what was asked for and with the checkpoint itself. */
  #placed(tenant: string, found: CheckpointTuple, asked: Asked): [Position, string] {
    const { thread_id, checkpoint_ns, checkpoint_id } = found.config?.configurable ?? {};
    const [thread, ns, id] = [String(thread_id), namespace(checkpoint_ns), String(checkpoint_id)];
    if (!agrees(asked.thread, thread) || !agrees(asked.ns, ns) || !agrees(asked.checkpoint, id)) {
      throw fail("authentication_failed", "the saver returned a row of another place than was asked for");
    }
    if (!isMap(found.checkpoint) || !isMap(found.checkpoint.channel_values ?? {}) || !isMap(found.checkpoint.channel_versions ?? {})) {
      throw fail("malformed", "a stored checkpoint is not a map: the row is damaged");
    }
    if (!isMap(found.metadata)) throw unsealedError("the metadata of a checkpoint");
    if (found.checkpoint.id !== id) throw fail("authentication_failed", "a checkpoint is not the one that its row is named after");
    const parent = found.parentConfig?.configurable;
    if (parent !== undefined && (String(parent.thread_id) !== thread || namespace(parent.checkpoint_ns) !== ns)) {
      throw fail("authentication_failed", "a checkpoint has a parent in another thread or namespace");
    }
    return [position(tenant, thread, ns), id];
  }

  /** Of a checkpoint from before sealing. LangGraph copied the config into it, the tenant's key among it. */
  #unsealedMetadata(tenant: string, found: CheckpointTuple): Entries {
    const metadata = found.metadata as unknown as Entries;
    if (this.tenantKey !== undefined && Object.hasOwn(metadata, this.tenantKey) && metadata[this.tenantKey] !== tenant) {
      throw fail("authentication_failed", "a checkpoint from before sealing belongs to another tenant");
    }
    for (const [name, value] of Object.entries(found.checkpoint.channel_values ?? {})) {
      if (isUnsealed(value)) continue;
      throw fail(
        "authentication_failed",
        `channel ${JSON.stringify(name)} begins like an envelope in a checkpoint without a manifest: that was removed, or it is old data that begins so, which never passes as plaintext`,
      );
    }
    return metadata;
  }

  async #openMetadata(at: Position, id: string, found: CheckpointTuple, how: Opening): Promise<Entries> {
    const row = found.metadata as unknown as Entries;
    const { checkpoint } = found;
    const sealed = own(row, SEALED_KEY);
    if (typeof sealed !== "string") throw unsealedError("the metadata of a checkpoint");
    const apart = areTasksApart(checkpoint) ? TASKS : undefined;
    const channels: [string, Envelope | null][] = [];
    for (const [name, value] of Object.entries(checkpoint.channel_values ?? {})) {
      if (snapshotted(value) || this.#isLeftOver(how.window, value)) channels.push([name, null]);
      else if (name !== apart) channels.push([name, beginning(envelopeOf(value, `channel ${JSON.stringify(name)}`))]);
    }
    const clear = Object.fromEntries(Object.entries(row).filter(([key]) => CLEAR.has(key)));
    const parent = (found.parentConfig?.configurable?.checkpoint_id as string | undefined) ?? null;
    let kind: string;
    let manifest: { metadata: Uint8Array; parent: string | null };
    try {
      const opened = await this.#open(sealed, at.metadata.extend({ checkpoint: id }));
      kind = opened.contentType;
      if (kind === "msgpack") await this.#refusePythons();
      manifest = manifestOpen(opened.payload, fieldsOf(checkpoint, clear), { parent, channels });
    } catch (error) {
      throw where(error, "a checkpoint's manifest or metadata");
    }
    if (how.linked && parent === null && manifest.parent !== null) {
      throw fail("authentication_failed", "a checkpoint's parent was removed: the history of its channels is cut");
    }
    const rest: unknown = await this.serde.loadsTyped(kind, manifest.metadata);
    if (!isMap(rest)) throw fail("malformed", "a checkpoint's metadata was sealed as something that is not a map");
    return { ...clear, ...rest };
  }

  /** Python's savers keep more in a checkpoint's row than JavaScript's give back: its manifest would fail here, and say nothing of why. */
  async #refusePythons(): Promise<void> {
    try {
      await this.serde.loadsTyped("msgpack", Uint8Array.of(0xc0));
    } catch {
      throw fail("invalid_argument", "LangGraph in Python wrote it, in a form that LangGraph JS cannot read: readCheckpoint gives it as plain JSON values");
    }
  }

  /** A saver with a table for values still has those from before sealing, and a sealed checkpoint may name them. */
  #isLeftOver(window: Window | undefined, value: unknown): boolean {
    return window !== undefined && !this.layout.exact && isUnsealed(value);
  }

  async #openCheckpoint(at: Position, id: string, checkpoint: Checkpoint, how: Opening): Promise<Checkpoint> {
    const apart = areTasksApart(checkpoint) ? TASKS : undefined;
    const keeping = new Map<string, Kept>();
    const open = async (name: string, value: unknown): Promise<unknown> => {
      const what = `channel ${JSON.stringify(name)}`;
      if (how.window !== undefined && this.#isLeftOver(how.window, value)) {
        how.window.let("values");
        return value;
      }
      const snapshot = snapshotted(value);
      if (snapshot) return new DeltaSnapshot(await this.#openValue(snapshot.value, at.delta.extend({ channel: name }), what));
      if (name === apart) return this.#openTasks(at, value, what);
      const version = own(checkpoint.channel_versions, name);
      const opened = await this.#openValue(value, at.of(name, versionOf(version)), what);
      if (!this.layout.newVersionsOnly && isWorthKeeping(opened, value as Envelope)) keeping.set(name, new Kept(version, opened, value as Envelope));
      return opened;
    };
    const channels = Object.entries(checkpoint.channel_values ?? {}).filter(([name]) => how.only === undefined || how.only.has(name));
    const fields = how.only === undefined ? Object.entries(checkpoint).filter(([field]) => !KNOWN_FIELDS.has(field)) : [];
    const [values, others] = await Promise.all([
      Promise.all(channels.map(async ([name, value]) => [name, await open(name, value)] as const)),
      Promise.all(
        fields.map(async ([field, value]) => {
          const context = at.field.extend({ checkpoint: id, field });
          return [field, await this.#openValue(value, context, `the field ${JSON.stringify(field)} of a checkpoint`)] as const;
        }),
      ),
    ]);
    if (how.only === undefined && keeping.size > 0) this.reuse.keep(at, keeping);
    return { ...checkpoint, ...Object.fromEntries(others), channel_values: Object.fromEntries(values) };
  }

  /** Old checkpoints: the channel's own value, or the writes to it that savers move there on reading. */
  async #openTasks(at: Position, value: unknown, what: string): Promise<unknown> {
    if (!Array.isArray(value)) return this.#openValue(value, at.tasks, what);
    return Promise.all(value.map((item) => this.#openValue(item, at.tasks, what)));
  }

  async #openWrites(at: Position, id: string, writes: readonly CheckpointPendingWrite[], how: Opening): Promise<CheckpointPendingWrite[]> {
    const { only, window } = how;
    const opened = async ([task, channel, value]: CheckpointPendingWrite): Promise<CheckpointPendingWrite> => {
      if (window !== undefined && isUnsealed(value)) {
        window.let("writes");
        return [task, channel, value];
      }
      const context = channel === TASKS ? at.tasks : at.write.extend({ checkpoint: id, task: String(task), channel });
      return [task, channel, await this.#openValue(value, context, `a pending write to channel ${JSON.stringify(channel)}`)];
    };
    return Promise.all(writes.filter(([, channel]) => only === undefined || only.has(channel)).map(opened));
  }

  async #openValue(value: unknown, context: Context, what: string): Promise<unknown> {
    let opened: Opened;
    try {
      const now = this.#open(envelopeOf(value), context);
      opened = now instanceof Promise ? await now : now;
    } catch (error) {
      throw where(error, what);
    }
    return this.serde.loadsTyped(opened.contentType, opened.payload);
  }

  /** At once where the key is held. */
  #open(sealed: Envelope, context: Context): Opened | Promise<Opened> {
    return this.keyring._cache.openTyped(sealed, context) ?? this.keyring.openTyped(sealed, context);
  }
}

const REMEDIES: Partial<Record<string, string>> = {
  plaintext_refused: 'it was stored without SealedSaver (migrate it: mode: "migrating"), or was replaced',
  authentication_failed: "it was changed or moved in the database, or belongs to another tenant",
  key_not_found: "its key is not in this key store, or belongs to another tenant",
};

/** The same error, saying which value it was about; one that is not ours, as it is. */
export function where(error: unknown, what: string): unknown {
  if (!isSealpointError(error)) return error;
  const remedy = REMEDIES[error.code];
  const told = remedy === undefined || /tenant|key store|migrate/.test(error.message);
  return fail(error.code, `${what}: ${error.message}${told ? "" : ` (${remedy})`}`);
}

function unsealedError(what: string): SealpointError {
  return fail("plaintext_refused", `${what} is not sealed: ${REMEDIES.plaintext_refused}`);
}

/** What the manifest's digest covers (SPEC section 7.2). */
function fieldsOf(checkpoint: Checkpoint, clear: Entries): ManifestFields {
  const { v, id, ts, channel_versions, versions_seen, updated_channels } = checkpoint as Checkpoint & { updated_channels?: string[] };
  const versions = areTasksApart(checkpoint)
    ? Object.fromEntries(Object.entries(channel_versions ?? {}).filter(([name]) => name !== TASKS))
    : (channel_versions ?? {});
  return [v, id, ts, versions, versions_seen ?? {}, updated_channels ?? null, clear as ManifestValue];
}

/** Before version 4, savers may rebuild `__pregel_tasks` from writes: it has no version and is outside the manifest. */
function areTasksApart({ v }: Checkpoint): boolean {
  return typeof v !== "number" || v < 4;
}

/** A checkpoint as savers copy it that keep nothing else of it. */
function withKnownFields({ v, id, ts, channel_values, channel_versions, versions_seen }: Checkpoint): Checkpoint {
  return { v, id, ts, channel_values, channel_versions, versions_seen };
}

/** What a delta snapshot holds: of LangGraph's class, whichever copy of it, or in its JSON form, in which it is stored here. */
function snapshotted(value: unknown): { value: unknown } | undefined {
  if (typeof value !== "object" || value === null || !("value" in value)) return undefined;
  const { lg_name, lc, type } = value as { lg_name?: unknown; lc?: unknown; type?: unknown };
  return lg_name === "DeltaSnapshot" || (lc === 2 && type === "delta_snapshot") ? value : undefined;
}

function marked(envelope: Envelope): object {
  return { lc: 2, type: "delta_snapshot", value: envelope };
}

/** What JSON has not even a null for: of a checkpoint that it is stored as, such values are left out. The serializer makes of them what it cannot read. */
function isNothing(value: unknown): boolean {
  return typeof value === "function" || typeof value === "symbol";
}

/** Lengths tell "approved" from "denied" (SPEC section 4.1). */
function isPadded(value: unknown, payload: Uint8Array): boolean {
  return payload.length <= PAD_BELOW || (typeof value === "string" && value.length <= PAD_CHARACTERS);
}

/** Whether a stored value, or what a stored snapshot holds, is no envelope. */
function isUnsealed(value: unknown): boolean {
  return !isEnvelope(snapshotted(value)?.value ?? value);
}

function isEnvelope(value: unknown): value is Envelope {
  return (typeof value === "string" || value instanceof Uint8Array) && isSealed(value);
}

function envelopeOf(value: unknown, what = "a stored value"): Envelope {
  if (isEnvelope(value)) return value;
  throw unsealedError(what);
}

function versionOf(version: unknown): string | number {
  return (version ?? "") as string | number;
}

function namespace(ns: unknown): string {
  return ns === undefined || ns === null ? "" : String(ns);
}

function agrees(asked: string | undefined, found: string): boolean {
  return asked === undefined || asked === found;
}

function isMap(value: unknown): value is Entries {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A name can be one that every object has. */
function own(object: object | undefined, name: string): unknown {
  return object !== undefined && object !== null && Object.hasOwn(object, name) ? (object as Entries)[name] : undefined;
}
