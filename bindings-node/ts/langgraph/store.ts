/** SealedStore: any LangGraph store, with the values of its items sealed. */

import { AsyncLocalStorageProviderSingleton } from "@langchain/core/singletons";
import {
  AsyncBatchedStore,
  BaseStore,
  type Item,
  type Operation,
  type OperationResults,
  type PutOperation,
  type SearchItem,
  type SearchOperation,
} from "@langchain/langgraph-checkpoint";
import { _internal, isSealed, type Keyring, type Migration, type Mode, type TenantConfig, type TenantSource } from "sealpoint";
import { embeddingWith, hasIndex } from "./borrowed.js";
import { Embedder } from "./embedder.js";
import { checkFilter, matches } from "./filters.js";
import { ItemSealer, type Prepared, SEALED_KEY, type Value } from "./items.js";
import { Queued } from "./queued.js";
import { checkKeyring } from "./seals.js";
import { setUp } from "./setups.js";

const { checkMode, checkSource, Fixed, fail, flag, options, resolveTenant, text } = _internal;

const FIRST_PAGE = 64;
const OPTIONS = ["tenant", "clearFields", "seal", "embed", "strictFilters", "mode", "migration"] as const;
const FORWARDED = ["sweepExpiredItems", "getStats"] as const;

export interface SealedStoreOptions {
  /**
   * Whose data it is: `fromConfig("workspace_id")`, `fixed("acme")` or a function of the config. Store calls carry no config: within a run the config is that of the
   * node (or tool) that calls; outside, `fromConfig` needs `tenantScope`. A call without a tenant is refused before anything is read or written (`tenant_required`).
   */
  tenant: TenantSource;
  /**
   * Names of top-level fields that stay readable, so that the database can filter on them. They are authenticated: a changed one is refused when the item is read.
   * Items keep the form that they were stored in until they are put again.
   */
  clearFields?: readonly string[];
  /** `"whole"` (default): one envelope for all fields that are not clear. `"fields"`: one for each, which shows their names and sizes. */
  seal?: "whole" | "fields";
  /**
   * Names of top-level fields for semantic search, whose text the inner store's embedder gets to see. **A vector gives its text away**: inversion attacks recover much
   * of it, and vectors are stored unsealed and unauthenticated: who writes the database decides what a search finds, and in what order. Without `embed` nothing is
   * embedded, and a query is refused: stores without an index search the text of what is stored, which is sealed.
   */
  embed?: readonly string[];
  /**
   * Refuse `search(…, { filter })` on sealed fields. Otherwise such filters are applied after opening, which reads and opens items of the namespace until enough match:
   * all of it, if need be.
   */
  strictFilters?: boolean;
  /**
   * `"strict"` (default): unsealed items are refused (`plaintext_refused`). `"migrating"`: they are still read, for the tenants and the time that `migration` allows,
   * and sealed when they are put again.
   */
  mode?: Mode;
  /** For whom and until when, and how many unsealed items were read. */
  migration?: Migration;
}

type Search = SearchOperation & { limit: number; offset: number };
type Plan =
  | { kind: "read" }
  | { kind: "delete"; op: PutOperation }
  | { kind: "put"; op: PutOperation; prepared: Prepared; index: false | string[]; texts: [string, string][] }
  | { kind: "search"; op: Search; sealed: Value | undefined };

/**
 * Wraps a store: each value is sealed, bound to its tenant, namespace and key, before the inner store sees it.
 *
 * Values are what JSON can hold without loss: anything that `JSON.stringify` would drop or change (undefined, NaN, a Date, a Map, a message) is refused
 * (`invalid_argument`). Each call throws an error with a code of SPEC section 9, or what the inner store throws. One item that does not open fails the call: nothing is
 * left out of a result. In a batch everything is sealed first, then its reads are done, then its writes: an operation that fails before that leaves nothing written.
 * LangGraph queues what the nodes of one run do at the same time and gives it to the store as one batch.
 *
 * A search finds the namespace and what is below it, and pages from its beginning: an inner store that takes `users2` for a part of `users` (PostgresStore) is asked
 * for more instead. Its own further searches (text, hybrid, thresholds) would see envelopes and are not there.
 *
 * Namespaces, keys, timestamps and expiry stay readable. Deleting, and listing namespaces, need no key: sealing is not authorization.
 */
export class SealedStore extends BaseStore {
  /** As which LangGraph's queues take this, to ask for `store`. */
  readonly lg_name = "AsyncBatchedStore";
  /** @internal The store for LangGraph's queues. */
  readonly store: BaseStore;
  /** Deletes what has expired, and says how many; if the inner store does that. */
  declare readonly sweepExpiredItems?: () => Promise<number>;
  /** What the inner store counts, if it does. */
  declare readonly getStats?: () => Promise<unknown>;

  readonly #inner: BaseStore;
  readonly #keyring: Keyring;
  readonly #source: TenantSource;
  readonly #clear: ReadonlySet<string>;
  readonly #embed: readonly string[];
  readonly #strictFilters: boolean;
  readonly #migration: Migration | undefined;
  readonly #embedder: Embedder | undefined;
  readonly #storage: BaseStore;
  readonly #sealer: ItemSealer;

  /** Throws: `invalid_argument`. */
  constructor(inner: BaseStore, keyring: Keyring, given: SealedStoreOptions) {
    super();
    if (!(typeof inner === "object" && inner !== null && typeof inner.batch === "function")) {
      throw fail("invalid_argument", "inner must be a store (a BaseStore)");
    }
    if (inner instanceof SealedStore || inner instanceof Queued) throw fail("invalid_argument", "inner is a SealedStore already");
    if (inner instanceof AsyncBatchedStore || (inner as { lg_name?: unknown }).lg_name === "AsyncBatchedStore") {
      throw fail("invalid_argument", "inner is the queue that LangGraph gives to nodes: wrap the store that the graph is compiled with");
    }
    const { tenant, clearFields = [], seal = "whole", embed = [], strictFilters = false, mode = "strict", migration } = options(given, OPTIONS);
    if (seal !== "whole" && seal !== "fields") throw fail("invalid_argument", 'seal must be "whole" or "fields"');
    this.#inner = inner;
    this.#keyring = checkKeyring(keyring);
    this.#source = checkSource(tenant);
    this.#migration = checkMode(mode, migration);
    this.#strictFilters = flag(strictFilters, "strictFilters");
    this.#clear = new Set(names("clearFields", clearFields));
    this.#embed = names("embed", embed);
    [this.#storage, this.#embedder] = this.#embedding();
    this.#sealer = new ItemSealer(this.#keyring, this.#clear, seal === "whole" ? new Set(this.#embed) : undefined);
    this.store = new Queued(
      (op) => (needsKey(op) ? this.#tenant() : ""),
      (ops, tenants) => this.#run(ops, tenants),
      this.#source instanceof Fixed,
    );
    for (const name of FORWARDED) {
      const own = (inner as unknown as Record<string, unknown>)[name];
      if (typeof own === "function") Object.defineProperty(this, name, { value: () => own.call(inner) });
    }
  }

  /** The wrapped store. What is read through it is sealed; what is written through it is not, and will be refused. */
  get inner(): BaseStore {
    return this.#inner;
  }

  /** Sets up the inner store and the keyring. */
  async setup(): Promise<void> {
    await setUp(this.#inner, this.#keyring);
  }

  override start(): void | Promise<void> {
    return this.#inner.start();
  }

  override stop(): void | Promise<void> {
    return this.#inner.stop();
  }

  override async batch<Op extends Operation[]>(operations: Op): Promise<OperationResults<Op>> {
    const tenant = operations.some(needsKey) ? this.#tenant() : "";
    const results = await this.#run(
      operations,
      operations.map(() => tenant),
    );
    return results as OperationResults<Op>;
  }

  /** As `BaseStore.put`; `further` is what the inner store's own `put` takes beyond that (PostgresStore: `{ ttl }`, minutes). */
  override async put(namespace: string[], key: string, value: Value, index?: false | string[], further?: { ttl?: number }): Promise<void> {
    const { ttl } = options(further, ["ttl"]);
    const op = { namespace, key, value, index, ...(ttl === undefined ? {} : { options: { ttl } }) };
    await this.batch([op]);
  }

  override async search(
    namespacePrefix: string[],
    how: { filter?: Record<string, unknown>; limit?: number; offset?: number; query?: string } = {},
  ): Promise<SearchItem[]> {
    return super.search(namespacePrefix, options(how, ["filter", "limit", "offset", "query"]));
  }

  /** Read here, in the caller's own call: no other has its config. */
  #tenant(): string {
    return resolveTenant(this.#source, AsyncLocalStorageProviderSingleton.getRunnableConfig() as TenantConfig | undefined);
  }

  async #run(operations: Operation[], tenants: string[]): Promise<unknown[]> {
    const plans = operations.map((op) => this.#planned(op)); // before anything is awaited: the caller may change its values afterwards
    const texts = new Map<string, string>();
    const writes: [at: number, op: Operation][] = [];
    for (const [at, plan] of plans.entries()) {
      if (plan.kind === "put") writes.push([at, await this.#sealed(tenants[at] as string, plan, texts)]);
      else if (plan.kind === "delete") writes.push([at, plan.op]);
    }
    const results: unknown[] = operations.map(() => undefined);
    const reads = operations.flatMap((op, at) => (plans[at]?.kind === "read" ? [[at, op] as const] : []));
    if (reads.length > 0) {
      const found = await this.#ask(reads.map(([, op]) => op));
      for (const [i, [at, op]] of reads.entries()) results[at] = await this.#opened(tenants[at] as string, op, found[i]);
    }
    for (const [at, plan] of plans.entries()) {
      if (plan.kind === "search") results[at] = await this.#search(tenants[at] as string, plan.op, plan.sealed);
    }
    if (writes.length > 0) {
      const write = () => this.#ask(writes.map(([, op]) => op));
      const done = await (this.#embedder ? this.#embedder.lend(texts, write) : write());
      for (const [i, [at]] of writes.entries()) results[at] = done[i];
    }
    return results;
  }

  async #ask(operations: Operation[]): Promise<unknown[]> {
    return this.#storage.batch(operations);
  }

  /** What is to be done, with everything that the caller gave checked and read. */
  #planned(op: Operation): Plan {
    if ("namespacePrefix" in op) return this.#plannedSearch(op);
    if ("value" in op) {
      position(op);
      if (op.value === null) return { kind: "delete", op: { ...op, namespace: [...op.namespace] } };
      const index = op.index === undefined || op.index === null ? this.#embed : op.index;
      if (index !== false && !index.every((name) => this.#embed.includes(name))) {
        throw fail("invalid_argument", "index names a field that is not in embed: name it there if its vector may reveal it, or pass false");
      }
      const prepared = this.#sealer.prepare(op.value);
      const texts = (index || []).flatMap((name) => textsOf(prepared, name).map((one): [string, string] => [name, one]));
      const copy = { ...op, namespace: [...op.namespace] };
      return { kind: "put", op: copy, prepared, texts, index: index === false || !this.#embedder ? false : texts.map(([name]) => name) };
    }
    if ("namespace" in op && "key" in op) {
      position(op);
      return { kind: "read" };
    }
    if ("matchConditions" in op) return { kind: "read" };
    throw fail("invalid_argument", "SealedStore does not know this operation: it is no get, search, put, delete or list of namespaces");
  }

  /** What the inner store can answer, and the part of the filter that only opened items can. */
  #plannedSearch(op: SearchOperation): Plan {
    const { filter, limit = 10, offset = 0, query } = op;
    namespace(op.namespacePrefix);
    if (query && this.#embedder === undefined) {
      throw fail("invalid_argument", "nothing is embedded, so a query would find nothing: name the fields to search in embed");
    }
    if (query && isSealed(query)) throw fail("invalid_argument", "a query starts like an envelope, which no text to search for does");
    for (const [name, count] of Object.entries({ limit, offset })) {
      if (!Number.isSafeInteger(count) || count < 0) throw fail("invalid_argument", `${name} of a search is a whole number, not negative`);
    }
    const wanted = Object.entries(filter ?? {});
    const clear = Object.fromEntries(wanted.filter(([name]) => this.#clear.has(name)));
    const sealed = Object.fromEntries(wanted.filter(([name]) => !this.#clear.has(name)));
    const hasSealed = Object.keys(sealed).length > 0;
    if (hasSealed && this.#strictFilters) {
      throw fail("invalid_argument", "strictFilters: the database cannot filter on a sealed field: name it in clearFields");
    }
    checkFilter(sealed);
    const asked = { ...op, namespacePrefix: [...op.namespacePrefix], filter: Object.keys(clear).length > 0 ? clear : undefined, limit, offset };
    return { kind: "search", op: asked, sealed: hasSealed ? structuredClone(sealed) : undefined };
  }

  /** The operation for the inner store. What its embedder will be asked for is added to `texts`. */
  async #sealed(tenant: string, plan: Plan & { kind: "put" }, texts: Map<string, string>): Promise<PutOperation> {
    const { namespace, key } = plan.op;
    const value = await this.#sealer.seal(tenant, namespace, key, plan.prepared);
    for (const [name, one] of plan.texts) texts.set(value[name] as string, one);
    return { ...plan.op, value, index: plan.index };
  }

  /** The result as the caller gets it. An item is opened at the position that was asked for. */
  async #opened(tenant: string, op: Operation, result: unknown): Promise<unknown> {
    if (!("key" in op) || result === null || result === undefined) return result;
    const item = result as Item;
    return { ...item, namespace: [...op.namespace], key: op.key, value: await this.#open(tenant, op.namespace, op.key, item.value) };
  }

  /**
   * Pages that start at the beginning and double: with an offset, what others write meanwhile would be seen twice or never, and the inner store would count what is
   * not in the result. What lies before the offset is opened only if a filter has to look at it.
   */
  async #search(tenant: string, op: Search, wanted: Value | undefined): Promise<SearchItem[]> {
    const need = op.offset + op.limit;
    let [limit, before] = [wanted === undefined ? need : Math.max(2 * need, FIRST_PAGE), -1];
    while (op.limit > 0) {
      const rows = ((await this.#ask([{ ...op, limit, offset: 0 }]))[0] ?? []) as SearchItem[];
      let [seen, found]: [number, SearchItem[]] = [0, []];
      for (const row of rows) {
        if (seen === need) break;
        if (!isWithin(row.namespace, op.namespacePrefix)) continue;
        const item = wanted === undefined && seen < op.offset ? undefined : await this.#openedFound(tenant, row);
        if (wanted !== undefined && !matches((item as SearchItem).value, wanted)) continue;
        seen += 1;
        if (seen > op.offset) found.push(item as SearchItem);
      }
      // A ranked search may give fewer rows than there are: it has come to its end when a longer page has no more, or when none was left out.
      const ended = rows.length < limit && (!op.query || rows.length === before || seen === rows.length);
      if (seen === need || ended) return found;
      [before, limit] = [rows.length, 2 * limit];
    }
    return [];
  }

  async #openedFound(tenant: string, row: SearchItem): Promise<SearchItem> {
    return { ...row, namespace: [...row.namespace], value: await this.#open(tenant, row.namespace, row.key, row.value) };
  }

  async #open(tenant: string, namespace: readonly string[], key: string, stored: unknown): Promise<Value> {
    return this.#sealer.open(tenant, namespace, key, stored, this.#migration?._window(tenant));
  }

  #embedding(): [BaseStore, Embedder | undefined] {
    if (this.#embed.length === 0) return [this.#inner, undefined];
    if (this.#embed.some((name) => /[.[\]{}*$]/.test(name))) throw fail("invalid_argument", "embed takes names of top-level fields, not paths");
    if (this.#embed.some((name) => this.#clear.has(name))) {
      throw fail("invalid_argument", "a field in embed is sealed: take it out of clearFields");
    }
    const view = hasIndex(this.#inner) ? embeddingWith(this.#inner, (embeddings) => new Embedder(embeddings)) : undefined;
    if (view === undefined) throw fail("invalid_argument", "embed needs an InMemoryStore or a PostgresStore with an index: make it with { index: … }");
    return [view.store, view.embedder];
  }
}

/** Whether an operation seals or opens. */
function needsKey(op: Operation): boolean {
  return "namespacePrefix" in op || ("key" in op && !("value" in op && op.value === null));
}

/** The texts of a field as the embedder gets them. */
function textsOf(prepared: Prepared, name: string): string[] {
  const payload = prepared.apart.find(([field]) => field === name)?.[1];
  if (payload === undefined) return [];
  const field: unknown = JSON.parse(new TextDecoder().decode(payload));
  if (field === null) return [];
  return typeof field === "object" ? [JSON.stringify(field, null, 2)] : [String(field)];
}

/** Whether a row lies in the namespace that was searched. Throws: `authentication_failed` (nothing that a store looks for lies there). */
function isWithin(found: readonly string[], prefix: readonly string[]): boolean {
  if (prefix.every((label, i) => found[i] === label)) return true;
  // Stores that search for the beginning of a path find sibling namespaces, too.
  if (found.join(":").startsWith(prefix.join(":"))) return false;
  throw fail("authentication_failed", "the store found an item outside the namespace that was searched");
}

function position({ namespace: labels, key }: { namespace: string[]; key: string }): void {
  namespace(labels);
  text(key, "the key of an item");
}

function namespace(labels: unknown): void {
  if (!Array.isArray(labels)) throw fail("invalid_argument", "a namespace is an array of strings");
  for (const label of labels) {
    if (text(label, "a label of a namespace") === "" || /[.:]/.test(label)) {
      throw fail("invalid_argument", "a label of a namespace is not empty and has no '.' and no ':', with which stores separate labels");
    }
  }
}

function names(what: string, given: unknown): readonly string[] {
  if (!Array.isArray(given) || !given.every((name) => typeof name === "string" && name !== "")) {
    throw fail("invalid_argument", `${what} is an array of field names, such as ["kind"]`);
  }
  if (given.includes(SEALED_KEY)) throw fail("invalid_argument", `${what} cannot name "${SEALED_KEY}": the envelope is kept under it`);
  return [...new Set(given as string[])];
}
