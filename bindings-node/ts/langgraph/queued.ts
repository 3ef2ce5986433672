/** How the operations of a graph's nodes reach a store: LangGraph queues them, and a loop does everybody's in the context of whoever came first. */

import { AsyncBatchedStore, BaseStore, type Operation, type OperationResults } from "@langchain/langgraph-checkpoint";
import { _internal } from "sealpoint";

const { fail } = _internal;

interface Batched {
  store: unknown;
  enqueueOperation?: (operation: Operation) => Promise<unknown>;
}

/** The store that LangGraph's queues see: it notes the tenant of each operation in the caller's own call, before it is queued. */
export class Queued extends BaseStore {
  readonly #tenants = new WeakMap<Operation, string>();
  readonly #tenant: (operation: Operation) => string;
  readonly #run: (operations: Operation[], tenants: string[]) => Promise<unknown[]>;
  readonly #fixed: boolean;

  constructor(tenant: (operation: Operation) => string, run: (operations: Operation[], tenants: string[]) => Promise<unknown[]>, fixed: boolean) {
    super();
    [this.#tenant, this.#run, this.#fixed] = [tenant, run, fixed];
    carryTenants();
  }

  note(operation: Operation): void {
    this.#tenants.set(operation, this.#tenant(operation));
  }

  /** Throws: `invalid_argument` (an operation whose caller is not known). */
  override async batch<Op extends Operation[]>(operations: Op): Promise<OperationResults<Op>> {
    const tenants = operations.map((operation) => {
      const tenant = this.#tenants.get(operation) ?? (this.#fixed ? this.#tenant(operation) : undefined);
      if (tenant !== undefined) return tenant;
      throw fail(
        "invalid_argument",
        "SealedStore was called from a queue of another copy of @langchain/langgraph-checkpoint, which works in the context of whoever came first, and would mix " +
          "tenants: install one copy and load it in one way (import or require), or use fixed(…)",
      );
    });
    return (await this.#run(operations, tenants)) as OperationResults<Op>;
  }
}

const CARRIES = Symbol("sealpoint carries tenants");

/** Makes LangGraph's queues call `note`: nothing else of an operation tells later whose it was. */
function carryTenants(): void {
  const queue = AsyncBatchedStore.prototype as unknown as Batched & { [CARRIES]?: true };
  const enqueue = queue.enqueueOperation;
  if (queue[CARRIES] || typeof enqueue !== "function") return;
  queue[CARRIES] = true;
  queue.enqueueOperation = async function (this: Batched, operation) {
    if (this.store instanceof Queued) this.store.note(operation);
    return enqueue.call(this, operation);
  };
}
