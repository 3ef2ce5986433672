/** SealedSaver: any LangGraph checkpoint saver, with nothing readable in its database. */

import { randomInt } from "node:crypto";
import type { RunnableConfig } from "@langchain/core/runnables";
import type {
  ChannelVersions,
  Checkpoint,
  CheckpointListOptions,
  CheckpointMetadata,
  CheckpointTuple,
  DeltaChannelHistory,
  PendingWrite,
} from "@langchain/langgraph-checkpoint";
import { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { _internal, isSealpointError, Keyring, type Migration, type Mode, type TenantConfig, type TenantSource } from "sealpoint";
import type { Window } from "../migration.js";
import { type Asked, askedOf, asText, stripped } from "./configs.js";
import { legacyStorageFor, storageFor } from "./container.js";
import { deltaHistory } from "./history.js";
import { type Layout, layoutOf } from "./layouts.js";
import { type Entries, split } from "./metadata.js";
import { Sealer, where } from "./sealer.js";
import { setUp } from "./setups.js";

const { checkMode, checkSource, fail, flag, options, resolveTenant, returnedConfig, tenantKey } = _internal;

/** Nine digits: with a step's number before them still exact in a double. */
const FRACTIONS = 1_000_000_000;

/** Checkpoints that a filter on sealed metadata looks at where a saver wants a number. Redis searches for up to a million, and RedisSaver for ten times as many as it is asked for. */
const EVERY = 10_000;

/** How a saver is sealed. */
export interface SealedSaverOptions {
  /**
   * Whose data it is: `fromConfig("workspace_id")`, `fixed("acme")` or a function of the config. A call without a tenant is refused before anything is written
   * (`tenant_required`). Give graphs that run the tenant in their config: `tenantScope` is for calls that have none.
   */
  tenant: TenantSource;
  /**
   * `"strict"` (the default): unsealed data is refused (`plaintext_refused`). `"migrating"`: what was stored before sealing is still read, for the tenants and the
   * time that `migration` allows; what is written is sealed.
   */
  mode?: Mode;
  /** For whom and until when, and how much unsealed data was read. */
  migration?: Migration;
  /**
   * Refuse `list` with a filter on metadata that is sealed. Otherwise (the default) such filters are applied after opening, which reads and opens every checkpoint
   * that the rest of the query selects.
   */
  strictFilters?: boolean;
}

/**
 * Wraps a checkpoint saver: each value is sealed, bound to its tenant and its exact position, before the inner saver sees it.
 *
 * Each call throws or rejects with a code of SPEC section 9, or with the saver's own error. `deleteThread` needs no key and goes straight to the inner saver:
 * sealing is not authorization.
 *
 * A node returns what it changes, as LangGraph asks: of a value of 16 KiB and more that it changed in place without returning it, the envelope of its version may
 * be stored again, where a bare saver that writes every channel at each step would store the change.
 *
 * Configs that the saver returns carry the tenant's key again, so that a replay from a history config finds its tenant. The configs that LangGraph itself makes for
 * the state of a subgraph (a task's `state`) carry nothing of the config that was asked with: put the tenant's key in, or ask within `tenantScope`.
 */
export class SealedSaver extends BaseCheckpointSaver {
  readonly #inner: BaseCheckpointSaver;
  readonly #keyring: Keyring;
  readonly #source: TenantSource;
  readonly #migration: Migration | undefined;
  readonly #strictFilters: boolean;
  readonly #storage: BaseCheckpointSaver;
  readonly #legacy: BaseCheckpointSaver;
  readonly #layout: Layout;
  readonly #sealer: Sealer;

  /**
   * `inner`: any checkpoint saver; its serializer still decides how values are serialized. `keyring`: holds the tenants' keys. Throws: `invalid_argument`.
   */
  constructor(inner: BaseCheckpointSaver, keyring: Keyring, given: SealedSaverOptions) {
    if (!isSaver(inner)) throw fail("invalid_argument", "inner must be a checkpoint saver (a BaseCheckpointSaver)");
    if (inner instanceof SealedSaver) throw fail("invalid_argument", "inner is a SealedSaver already");
    if (!(keyring instanceof Keyring)) throw fail("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)");
    const { tenant, mode = "strict", migration, strictFilters = false } = options(given, ["tenant", "mode", "migration", "strictFilters"]);
    super(inner.serde);
    this.#migration = checkMode(mode, migration);
    this.#inner = inner;
    this.#keyring = keyring;
    this.#source = checkSource(tenant);
    this.#strictFilters = flag(strictFilters, "strictFilters");
    this.#storage = storageFor(inner);
    this.#legacy = this.#migration ? legacyStorageFor(inner) : this.#storage;
    this.#layout = layoutOf(inner);
    this.#sealer = new Sealer(keyring, inner.serde, this.#layout, tenantKey(this.#source));
  }

  /** The wrapped saver. What is read through it is sealed; what is written through it is not, and will be refused. */
  get inner(): BaseCheckpointSaver {
    return this.#inner;
  }

  /** Sets up the inner saver, if it has a `setup`, and the keyring. */
  async setup(): Promise<void> {
    await setUp(this.#inner, this.#keyring);
  }

  override async put(config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, newVersions: ChannelVersions): Promise<RunnableConfig> {
    const tenant = resolveTenant(this.#source, config);
    const sealed = await this.#sealer.put(tenant, config, checkpoint, metadata, newVersions);
    const stored = await this.#storage.put(stripped(config), sealed.checkpoint, sealed.metadata, newVersions);
    this.#sealer.stored(sealed);
    return returnedConfig(this.#source, stored as TenantConfig, tenant);
  }

  override async putWrites(config: RunnableConfig, writes: PendingWrite[], taskId: string, taskPath?: string): Promise<void> {
    const tenant = resolveTenant(this.#source, config);
    const sealed = await this.#sealer.writes(tenant, config, writes, taskId);
    await this.#storage.putWrites(stripped(config), sealed, taskId, taskPath);
  }

  override async getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined> {
    const tenant = resolveTenant(this.#source, config);
    const { storage, window } = this.#reading(tenant);
    const inward = stripped(config);
    const found = await undamaged(inward, () => storage.getTuple(inward));
    if (found === undefined) return undefined;
    const opened = await this.#sealer.openTuple(tenant, found, askedOf(config, ""), { window });
    return opened && this.#outward(opened, tenant, found.config === inward ? config : undefined);
  }

  /**
   * Checkpoints, newest first. Filters on sealed metadata are applied after opening (see `strictFilters`). The tenant is the one of where this is called, wherever
   * the generator is used.
   *
   * Without a thread this is every thread in the database: the tenant then comes from the config's key, `tenantScope`, `fixed` or the function, and a row of another
   * tenant throws.
   */
  override list(config: RunnableConfig, given?: CheckpointListOptions): AsyncGenerator<CheckpointTuple> {
    const tenant = resolveTenant(this.#source, config);
    const { filter, before, limit } = given ?? {};
    const { listLimit } = this.#layout;
    const { clear, rest } = split(filter ?? {});
    const wanted = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    const sealed = Object.keys(wanted);
    if (sealed.length > 0 && this.#strictFilters) {
      throw fail(
        "invalid_argument",
        `strictFilters: the metadata ${sealed.map((key) => JSON.stringify(key)).join(", ")} is sealed, so the database cannot filter on it`,
      );
    }
    const query: CheckpointListOptions = {
      ...given,
      filter: Object.keys(clear).length > 0 ? clear : undefined,
      before: before && stripped(before),
      limit: sealed.length === 0 ? limit : listLimit && EVERY,
    };
    return this.#list({
      tenant,
      config: stripped(config ?? {}),
      query,
      asked: askedOf(config),
      wanted: sealed.length > 0 ? wanted : undefined,
      limit: sealed.length > 0 ? (limit ?? listLimit) : undefined,
    });
  }

  async *#list({ tenant, config, query, asked, wanted, limit }: ListPlan): AsyncGenerator<CheckpointTuple> {
    let left = limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    const { storage, window } = this.#reading(tenant);
    const rows = storage.list(config, query);
    try {
      for (let seen = 0; left > 0; seen += 1) {
        const { value: row, done } = await undamaged(config, () => rows.next());
        if (done && wanted !== undefined && seen === query.limit) {
          throw fail("invalid_argument", `a filter on sealed metadata looks at ${EVERY} checkpoints at most here: ask for one thread, or with "before"`);
        }
        if (done) return;
        const found = await this.#sealer.openTuple(tenant, row, asked, { wanted, window });
        if (found === undefined) continue;
        left -= 1;
        yield this.#outward(found, tenant);
      }
    } finally {
      await rows.return(undefined);
    }
  }

  /** Deletes what the thread has, whoever's it is, through the inner saver. */
  override async deleteThread(threadId: string): Promise<void> {
    await this.#storage.deleteThread(asText(threadId));
  }

  /** The walk along the parents, each checkpoint verified. Throws also: `authentication_failed` (a parent was removed). */
  override async getDeltaChannelHistory({ config, channels }: { config: RunnableConfig; channels: string[] }): Promise<Record<string, DeltaChannelHistory>> {
    const tenant = resolveTenant(this.#source, config);
    const { storage, window } = this.#reading(tenant);
    const fetch = (cursor: TenantConfig) => undamaged(cursor, () => storage.getTuple(cursor));
    return deltaHistory(this.#sealer, fetch, window, tenant, config, channels);
  }

  /**
   * As the inner saver numbers versions; but where it keeps values in a table by their version, with a fraction of its own behind each number. Two forks of a thread
   * come to the same number, and such a saver then keeps the first one's value for both, silently.
   */
  override getNextVersion(current: number | undefined): number {
    const next = this.#inner.getNextVersion(typeof current === "number" ? Math.floor(current) : current);
    if (!this.#layout.newVersionsOnly || !Number.isSafeInteger(next)) return next;
    return Number(`${next}.${String(randomInt(1, FRACTIONS)).padStart(9, "0")}`);
  }

  /** What reads this tenant's rows, and whether unsealed ones pass. Only while they do, a row meets the application's serializer before it is authenticated. */
  #reading(tenant: string): { storage: BaseCheckpointSaver; window: Window | undefined } {
    const window = this.#migration?._window(tenant);
    return { storage: window === undefined ? this.#storage : this.#legacy, window };
  }

  /** The row with configs for the caller. Savers that answer with the very config of the question get the caller's own back. */
  #outward(found: CheckpointTuple, tenant: string, config?: RunnableConfig): CheckpointTuple {
    const outward: CheckpointTuple = { ...found, config: returnedConfig(this.#source, (config ?? found.config) as TenantConfig, tenant) };
    if (found.parentConfig) outward.parentConfig = returnedConfig(this.#source, found.parentConfig as TenantConfig, tenant);
    return outward;
  }
}

interface ListPlan {
  readonly tenant: string;
  readonly config: TenantConfig;
  readonly query: CheckpointListOptions;
  readonly asked: Asked;
  readonly wanted: Entries | undefined;
  /** Counted here, because the inner saver cannot know which rows a sealed filter lets through. */
  readonly limit: number | undefined;
}

/** By what it can do: a class of another copy of LangGraph's package is as good. */
function isSaver(value: unknown): value is BaseCheckpointSaver {
  if (typeof value !== "object" || value === null) return false;
  const saver = value as Partial<BaseCheckpointSaver>;
  const methods = [
    saver.getTuple,
    saver.list,
    saver.put,
    saver.putWrites,
    saver.deleteThread,
    saver.getNextVersion,
    saver.serde?.dumpsTyped,
    saver.serde?.loadsTyped,
  ];
  return methods.every((method) => typeof method === "function");
}

/**
 * A row can be such that the saver's own code stumbles: what it says then may quote the row. A storage error stays the saver's own, and without a thread it is the
 * question that is wrong. Throws: `malformed`.
 */
async function undamaged<T>(config: TenantConfig, read: () => Promise<T>): Promise<T> {
  const thread = config.configurable?.thread_id;
  try {
    return await read();
  } catch (error) {
    if (thread === undefined) throw error;
    const what = `thread ${JSON.stringify(String(thread).slice(0, 100))}`;
    if (isSealpointError(error)) throw where(error, what);
    if (!isStumble(error)) throw error;
    throw fail("malformed", `${what}: the saver cannot read a stored checkpoint (${error.name}): the row is damaged, or not LangGraph's`);
  }
}

const STUMBLES = /^Cannot (read prop|set prop|convert|create|use .in.|destructure)|is not (iterable|a function|an object)|null or undefined/;

/** What the language itself throws at data of another shape; drivers throw a TypeError too, for a connection that is closed. */
function isStumble(error: unknown): error is Error {
  return error instanceof SyntaxError || error instanceof RangeError || (error instanceof TypeError && STUMBLES.test(error.message));
}
