/** Who the data belongs to: where a wrapper finds the tenant of a call. There is no default tenant. */

import type { AsyncLocalStorage } from "node:async_hooks";
import { text } from "./check.js";
import { fail } from "./errors.js";
import { hide } from "./hide.js";
import { needed } from "./platform.js";

/** A LangGraph config, as far as tenants are concerned. */
export interface TenantConfig {
  configurable?: Record<string, unknown>;
}

/** The tenant is `config.configurable[key]`; if the config has no such key, the one of `tenantScope`. */
export class FromConfig {
  /** @internal Use `fromConfig`. */
  constructor(readonly key: string) {}
}

/** The tenant is always this one. */
export class Fixed {
  readonly #tenant: string;

  /** @internal Use `fixed`. */
  constructor(tenant: string) {
    this.#tenant = tenant;
  }

  /** @internal */
  get _tenant(): string {
    return this.#tenant;
  }

  toString(): string {
    return "fixed([redacted])";
  }

  toJSON(): string {
    return this.toString();
  }
}
hide(Fixed);

export type TenantSource = FromConfig | Fixed | ((config: TenantConfig | undefined) => string);

/** The tenant is what the caller put into `config.configurable[key]`. Throws: `invalid_argument`. */
export function fromConfig(key: string): FromConfig {
  if (typeof key !== "string" || key === "") {
    throw fail("invalid_argument", 'fromConfig takes the name of a key in config.configurable, such as "workspace_id"');
  }
  return new FromConfig(key);
}

/** One tenant for everything that this wrapper seals. Throws: `tenant_required` (empty). */
export function fixed(tenant: string): Fixed {
  return new Fixed(checked(tenant, "fixed() takes a tenant: a string that is not empty"));
}

/**
 * While `run` and what it awaits or starts are under way, this is the tenant of every config that names none. Returns what `run` returns.
 *
 * A generator that is made within and iterated outside has the tenant of where it was made. Throws: `tenant_required` (empty), `missing_dependency` (no
 * `AsyncLocalStorage` in this runtime).
 */
export function tenantScope<T>(tenant: string, run: () => T): T {
  return scope().run(checked(tenant, "tenantScope() takes a tenant: a string that is not empty"), run);
}

/** Refuses, when a wrapper is made, what could never name a tenant. Throws: `invalid_argument`. */
export function checkSource(source: unknown): TenantSource {
  if (typeof source === "string") {
    throw fail(
      "invalid_argument",
      "tenant was given as a bare string, which could be a key of the config or a tenant's name, and a guess would pool tenants: write fromConfig(…) or fixed(…)",
    );
  }
  if (source instanceof FromConfig || source instanceof Fixed || typeof source === "function") return source as TenantSource;
  throw fail("invalid_argument", "tenant takes fromConfig(…), fixed(…) or a plain function of the config");
}

/**
 * The tenant of one call: from the config (its key, else a thread id that a wrapper returned), else from `tenantScope`. A key that is there but holds no tenant
 * is refused, never replaced by the scope's. Throws: `tenant_required`.
 */
export function resolveTenant(source: TenantSource, config: TenantConfig | undefined): string {
  if (source instanceof Fixed) return source._tenant;
  if (!(source instanceof FromConfig)) {
    return checked(source(config), "the function given as tenant returned no tenant: a string that is not empty is needed");
  }
  const configurable = config?.configurable;
  if (configurable !== undefined && source.key in configurable) {
    return checked(configurable[source.key], `config.configurable[${JSON.stringify(source.key)}] is no tenant: a string that is not empty is needed`);
  }
  const scoped = storage?.getStore();
  if (scoped !== undefined) return scoped;
  throw fail("tenant_required", `no tenant: set config.configurable[${JSON.stringify(source.key)}], or call within tenantScope(…)`);
}

/** The key of a config that names the tenant, if it is one. */
export function tenantKey(source: TenantSource): string | undefined {
  return source instanceof FromConfig ? source.key : undefined;
}

/** A config that goes back to the caller, with the tenant's key in it, so that a replay from it finds the tenant again. */
export function returnedConfig<C extends TenantConfig>(source: TenantSource, config: C, tenant: string): C {
  if (!(source instanceof FromConfig)) return config;
  return { ...config, configurable: { ...config.configurable, [source.key]: tenant } };
}

let storage: AsyncLocalStorage<string> | undefined;

function scope(): AsyncLocalStorage<string> {
  storage ??= new (needed("async_hooks", "tenantScope").AsyncLocalStorage)<string>();
  return storage;
}

function checked(tenant: unknown, message: string): string {
  if (typeof tenant !== "string" || tenant === "") throw fail("tenant_required", message);
  return text(tenant, "the tenant");
}
