// What a client hears when a request fails, and what the log does.
import { type ErrorCode, isSealpointError } from "sealpoint";

/** The application's own refusals. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string) {
    super(code);
    this.status = status;
    this.code = code;
  }
}

/** Codes that a request can be the cause of. Those that pass by themselves are 503, the others need an operator: 500. */
const statuses: Partial<Record<ErrorCode, number>> = {
  tenant_required: 401,
  invalid_context: 400, // such as an id that is too long
  limit_exceeded: 413,
  authentication_failed: 404, // a thread of another tenant, which is told to nobody; or one that was tampered with
  key_disabled: 423,
  key_destroyed: 410, // the tenant was erased
};

export function statusOf(code: ErrorCode, retryable: boolean): number {
  return retryable ? 503 : (statuses[code] ?? 500);
}

/** A client gets a code. The messages of sealpoint's errors go into the log: they hold no values. Those of other errors may quote what a user wrote. */
export function refuse(error: unknown): Response {
  if (error instanceof Refusal) return answer(error.status, error.code);
  if (!isSealpointError(error)) {
    console.error("failed:", error instanceof Error ? error.name : typeof error);
    return answer(500, "internal");
  }
  console.error(`${error.code}: ${error.message}`);
  const status = statusOf(error.code, error.retryable);
  return status === 404 ? answer(404, "not_found") : answer(status, error.code);
}

function answer(status: number, code: string): Response {
  return Response.json({ code }, { status, headers: status === 503 ? { "retry-after": "5" } : {} });
}
