/// <reference lib="esnext.disposable" preserve="true" />
/** Envelope encryption: seal and open values bound to where they belong, under keys per tenant. The same bytes as in Python and Rust. `sealpoint/langgraph` has the savers; this imports no LangGraph. */

export { backend, limits, version } from "./backend.js";
export type { WatchOptions } from "./bulk.js";
export { DekCache, type PurposeOption } from "./cache.js";
export type { Bytes, BytesIn } from "./check.js";
export { Context, canaryContext, openOnlyContext, wrapContext } from "./context.js";
export type { Kind } from "./core.js";
export { DataKey } from "./data-key.js";
export { envelopeDekId, fromText, isSealed, toText } from "./envelope.js";
export { type ErrorCode, errorCodes, isSealpointError, type SealpointError } from "./errors.js";
/** @internal */
export * as _internal from "./internal.js";
export type { AffectedTenant, Health, KekHealth } from "./keyring/health.js";
export type { KekConfig } from "./keyring/keks.js";
export { Keyring, type KeyringOptions, type KeyringPurpose } from "./keyring/keyring.js";
export type { DekPurpose } from "./keyring/purposes.js";
export { canarySecret, type DekRecord, exportKey, LocalKek, SecretKey } from "./keys.js";
export type { KeyManagementProvider, ProviderCapabilities, WrappedKey } from "./kms/provider.js";
export type { Progress } from "./lifecycle/jobs.js";
export type {
  DekStatus,
  DropReport,
  Failure,
  PurposeStatus,
  ReplayReport,
  RewrapReport,
  Rotation,
  RotationReport,
  ShredReport,
  StoredTombstone,
  TenantStatus,
  Tombstone,
} from "./lifecycle/reports.js";
export type { JobOptions } from "./lifecycle/verbs.js";
export { type ManifestChannels, type ManifestFields, manifestOpen, manifestPayload } from "./manifest.js";
export { Migration, type Mode, type Unsealed } from "./migration.js";
export type { Opened, SealOptions } from "./seal.js";
export type { KeyLifecycle, WrapChange, WrapDrop } from "./stores/lifecycle.js";
export type { StoreSource } from "./stores/open.js";
export { PostgresStore } from "./stores/postgres.js";
export type { DekState, KeyStore, PostgresPool, StoredDek, StoreSettings, TenantRecord, WrapRecord } from "./stores/records.js";
export { SqliteStore } from "./stores/sqlite.js";
export { type Fixed, type FromConfig, fixed, fromConfig, type TenantConfig, type TenantSource, tenantScope } from "./tenants.js";
export type { ContextPairs, ContextValue, ManifestValue } from "./transport.js";
