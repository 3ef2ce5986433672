/** From rows of the SQL key stores to records, as far as rows go: the keyring checks them. */

import type { StoredDek, TenantRecord } from "./records.js";

export type Row = Record<string, unknown>;

/** A DEK (d) with its tombstone (t), once for each wrap (w): to be followed by FROM. */
export const SELECT_DEK = `
SELECT d.dek_id, d.tenant, d.purpose, d.suite, d.version, d.state, d.key_check, d.created_at, t.shredded_at, d.retired_at, d.destroyed_at,
       w.kek_uri, w.kek_version, w.wrap_alg, w.wrapped, w.created_at AS wrapped_at, w.verified_at
`;

/** The one DEK that these rows are of; undefined: there are none. */
export function dekFromRows(rows: readonly Row[]): StoredDek | undefined {
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    dekId: row.dek_id,
    tenant: row.tenant,
    dekPurpose: row.purpose,
    suite: row.suite,
    version: row.version,
    state: row.state,
    keyCheck: row.key_check,
    createdAt: row.created_at,
    shreddedAt: row.shredded_at,
    retiredAt: row.retired_at,
    destroyedAt: row.destroyed_at,
    wraps: rows
      .filter(({ kek_uri }) => kek_uri !== null)
      .map((wrap) => ({
        kekUri: wrap.kek_uri,
        kekVersion: wrap.kek_version,
        wrapAlg: wrap.wrap_alg,
        wrapped: wrap.wrapped,
        createdAt: wrap.wrapped_at,
        verifiedAt: wrap.verified_at,
      })),
  } as unknown as StoredDek;
}

/** The DEKs that these rows are of, which lie together for each. */
export function deksFromRows(rows: readonly Row[]): StoredDek[] {
  const groups: Row[][] = [];
  for (const row of rows) {
    const last = groups.at(-1);
    if (last !== undefined && same(last[0]?.dek_id, row.dek_id)) last.push(row);
    else groups.push([row]);
  }
  return groups.map((group) => dekFromRows(group) as StoredDek);
}

/** From rows of tenant, created_at and shredded_at. */
export function tenantsFromRows(rows: readonly Row[]): [string, TenantRecord][] {
  return rows.map((row) => [row.tenant, { createdAt: row.created_at, shreddedAt: row.shredded_at }] as [string, TenantRecord]);
}

function same(left: unknown, right: unknown): boolean {
  if (!(left instanceof Uint8Array && right instanceof Uint8Array)) return left === right;
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}
