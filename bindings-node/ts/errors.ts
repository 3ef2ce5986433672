/** What can go wrong: one list of codes, the same in every language (SPEC section 9). */

/** Every code, and whether the same call can succeed later without anybody changing anything. A test proves it equal to the core's own list. */
export const errorCodes = Object.freeze({
  malformed: false,
  unsupported_version: false,
  unsupported_suite: false,
  unsupported_encoding: false,
  plaintext_refused: false,
  invalid_context: false,
  tenant_required: false,
  key_not_found: false,
  key_disabled: false,
  key_destroyed: false,
  authentication_failed: false,
  limit_exceeded: false,
  kms_denied: false,
  kms_throttled: true,
  kms_unavailable: true,
  store_unavailable: true,
  store_invalid: false,
  missing_dependency: false,
  confirmation_required: false,
  invalid_argument: false,
  internal: false,
});

/** The contract: match on `error.code`. docs/ERRORS.md says what to do about each. */
export type ErrorCode = keyof typeof errorCodes;

/** What every call of this package throws: a plain `Error` with a code. No message holds key bytes, plaintext or context values. */
export interface SealpointError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
}

/** Whether a caught value is one of this package's errors. */
export function isSealpointError(error: unknown): error is SealpointError {
  return error instanceof Error && "code" in error && "retryable" in error && Object.hasOwn(errorCodes, String(error.code));
}

/** An error with this code, made as the core makes its own. `options`: as `Error` takes them. */
export function fail(code: ErrorCode, message: string, options?: ErrorOptions): SealpointError {
  return Object.assign(new Error(message, options), { code, retryable: errorCodes[code] });
}
