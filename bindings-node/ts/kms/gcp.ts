/**
 * Google Cloud KMS: `gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K`, by Google's client (`npm install @google-cloud/kms`). Node only.
 *
 * Credentials are found as Google's client finds them; the identity needs `cloudkms.cryptoKeyVersions.useToEncrypt` and `…useToDecrypt` on the key
 * (roles/cloudkms.cryptoKeyEncrypterDecrypter).
 */

import type * as Google from "@google-cloud/kms";
import { options } from "../check.js";
import type { Context } from "../context.js";
import { type ErrorCode, fail, type SealpointError } from "../errors.js";
import { hide } from "../hide.js";
import type { SecretKey } from "../keys.js";
import { optional } from "../platform.js";
import { Budget, DEADLINE_S, exposed, isNetworkError, nameOf, secretFrom } from "./calls.js";
import { crc32c } from "./crc32c.js";
import type { KeyManagementProvider, ProviderCapabilities, WrappedKey } from "./provider.js";

const PACKAGE = "@google-cloud/kms";
const WRAP_ALG = "GOOGLE_SYMMETRIC_ENCRYPTION";
const NAME = /^projects\/[a-z0-9.:-]{1,100}\/locations\/[a-z0-9-]{1,63}\/keyRings\/[A-Za-z0-9_-]{1,63}\/cryptoKeys\/[A-Za-z0-9_-]{1,63}$/;
const SERVICE = "Google Cloud KMS";

/** What is used of Google's `KeyManagementServiceClient`. */
export interface GcpKmsClient {
  initialize(): Promise<unknown>;
  innerApiCalls: Readonly<Record<string, unknown>>;
}

export interface GcpKmsOptions {
  /** A `KeyManagementServiceClient` (from `@google-cloud/kms`) of your own, for another endpoint or credentials. */
  client?: GcpKmsClient;
  /** Seconds that a call may take, retries included; 10 by default, at most 120. They are ours: the client's own wait for a minute. */
  deadline?: number;
}

/** One symmetric key of Google Cloud KMS. The service binds the context's canonical bytes; CRC32C is compared both ways. */
export class GcpKmsProvider implements KeyManagementProvider {
  readonly uri: string;
  readonly capabilities: ProviderCapabilities = Object.freeze({ bindsContext: true, authenticates: true });
  readonly #name: string;
  readonly #budget: Budget;
  readonly #connect: () => GcpKmsClient;
  #client: GcpKmsClient | undefined;

  /**
   * `name`: `projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version: the primary one wraps, each opens what it wrapped.
   *
   * Throws: `invalid_argument`, `missing_dependency` (Google's client is not installed).
   */
  constructor(name: string, given?: GcpKmsOptions) {
    const { client, deadline = DEADLINE_S } = options(given, ["client", "deadline"]);
    if (typeof name !== "string" || !NAME.test(name)) {
      throw fail(
        "invalid_argument",
        "gcp-kms:// is followed by the name of a key, without a version or options: gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K",
      );
    }
    this.uri = `gcp-kms://${name}`;
    this.#name = name;
    this.#budget = new Budget(deadline, SERVICE);
    if (client === undefined) {
      const { KeyManagementServiceClient } = optional<typeof Google>(PACKAGE, "a KEK of gcp-kms:");
      this.#connect = () => new KeyManagementServiceClient();
    } else {
      if (typeof client?.initialize !== "function") throw fail("invalid_argument", `client is a KeyManagementServiceClient of ${PACKAGE}`);
      this.#connect = () => client;
    }
  }

  /** By `Encrypt`. The version is the number of the key version that did it. */
  wrap(secret: SecretKey, context: Context): Promise<WrappedKey> {
    return exposed(secret, (plaintext) =>
      this.#budget.run(async () => {
        const answer = await this.#send<Encrypted>("encrypt", context, { plaintext, plaintextCrc32c: sum(plaintext) });
        intact(answer.verifiedPlaintextCrc32c === true && answer.verifiedAdditionalAuthenticatedDataCrc32c === true);
        const wrapped = checked(answer.ciphertext, answer.ciphertextCrc32c);
        const [name, version] = String(answer.name).split("/cryptoKeyVersions/");
        if (name !== this.#name) throw fail("authentication_failed", "Google Cloud KMS used another key than the one it was asked to use");
        return { wrapped, wrapAlg: WRAP_ALG, kekVersion: version ?? "" };
      }, translate),
    );
  }

  /** By `Decrypt`, under this key alone; the ciphertext names the version. */
  unwrap(wrapped: WrappedKey, context: Context): Promise<SecretKey> {
    const ciphertext = wrapped.wrapped;
    return this.#budget.run(async () => {
      const { plaintext, plaintextCrc32c } = await this.#send<Decrypted>("decrypt", context, { ciphertext, ciphertextCrc32c: sum(ciphertext) });
      try {
        return secretFrom(checked(plaintext, plaintextCrc32c), SERVICE);
      } finally {
        if (plaintext instanceof Uint8Array) plaintext.fill(0);
      }
    }, translateOpening);
  }

  toString(): string {
    return `GcpKmsProvider(${JSON.stringify(this.#name)})`;
  }

  toJSON(): string {
    return this.toString();
  }

  /**
   * Past the client's own methods, which log what is sent and answered, keys included, where GOOGLE_SDK_NODE_LOGGING is set; and which end the process where there are no
   * credentials.
   */
  async #send<Answer>(method: "encrypt" | "decrypt", context: Context, fields: object): Promise<Answer> {
    const client = await this.#ready();
    const aad = context.canonical;
    const request = { name: this.#name, additionalAuthenticatedData: aad, additionalAuthenticatedDataCrc32c: sum(aad), ...fields };
    const headers = { "x-goog-request-params": `name=${encodeURIComponent(this.#name)}` };
    const call = client.innerApiCalls[method] as (request: object, how: object) => Promise<[Answer]>;
    const [answer] = await call(request, { retry: null, timeout: this.#budget.attempt, otherArgs: { headers } });
    return answer;
  }

  /** A client that has credentials; one that has found none is not asked again. */
  async #ready(): Promise<GcpKmsClient> {
    this.#client ??= this.#connect();
    const client = this.#client;
    try {
      await client.initialize();
    } catch (error) {
      if (this.#client === client) this.#client = undefined;
      throw isNetworkError(error) ? error : fail("kms_denied", `${CREDENTIALS} (${nameOf(error)})`);
    }
    return client;
  }
}
hide(GcpKmsProvider);

/** Bytes and numbers as protobufjs gives them: 64-bit numbers are strings, or objects that show as such. */
interface Encrypted {
  name?: unknown;
  ciphertext?: unknown;
  ciphertextCrc32c?: Sum;
  verifiedPlaintextCrc32c?: unknown;
  verifiedAdditionalAuthenticatedDataCrc32c?: unknown;
}
interface Decrypted {
  plaintext?: unknown;
  plaintextCrc32c?: Sum;
}
type Sum = { value?: unknown } | null;

const DAMAGED = Symbol("damaged");

function sum(bytes: Uint8Array): { value: number } {
  return { value: crc32c(bytes) };
}

function checked(bytes: unknown, expected: Sum | undefined): Uint8Array {
  intact(bytes instanceof Uint8Array && String(expected?.value) === String(crc32c(bytes)));
  return bytes as Uint8Array;
}

function intact(holds: boolean): void {
  if (!holds) throw DAMAGED;
}

const CREDENTIALS = "Google finds or accepts no credentials: attach a service account, or gcloud auth application-default login";
const AWAY = "Google Cloud KMS cannot be reached, or failed";

/** By the status of gRPC, a number. */
const ANSWERS = new Map<unknown, readonly [name: string, code: ErrorCode, message: string]>([
  [1, ["CANCELLED", "kms_unavailable", AWAY]],
  [2, ["UNKNOWN", "kms_unavailable", AWAY]],
  [3, ["INVALID_ARGUMENT", "invalid_argument", "the Google Cloud KMS key cannot do this: it takes a key of purpose ENCRYPT_DECRYPT"]],
  [4, ["DEADLINE_EXCEEDED", "kms_unavailable", AWAY]],
  [5, ["NOT_FOUND", "key_not_found", "Google Cloud KMS does not know this key: check the name in gcp-kms://"]],
  [
    7,
    [
      "PERMISSION_DENIED",
      "kms_denied",
      "Google Cloud KMS refuses this identity: it needs roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, and the API enabled",
    ],
  ],
  [8, ["RESOURCE_EXHAUSTED", "kms_throttled", "Google Cloud KMS has had too many requests: look at the project's quotas"]],
  [9, ["FAILED_PRECONDITION", "key_disabled", "the Google Cloud KMS key version is disabled or about to be destroyed: enable or restore it"]],
  [10, ["ABORTED", "kms_unavailable", AWAY]],
  [11, ["OUT_OF_RANGE", "invalid_argument", "the Google Cloud KMS key cannot do this: it takes a key of purpose ENCRYPT_DECRYPT"]],
  [12, ["UNIMPLEMENTED", "kms_unavailable", AWAY]],
  [13, ["INTERNAL", "kms_unavailable", AWAY]],
  [14, ["UNAVAILABLE", "kms_unavailable", AWAY]],
  [15, ["DATA_LOSS", "kms_unavailable", AWAY]],
  [16, ["UNAUTHENTICATED", "kms_denied", CREDENTIALS]],
]);

/** The service's own text is not passed on: it names projects and keys. */
function translate(error: unknown): SealpointError | undefined {
  if (error === DAMAGED) return fail("kms_unavailable", "what Google Cloud KMS was sent, or sent, was damaged on the way");
  const { code, message = "" } = (error ?? {}) as { code?: unknown; message?: string };
  if (code === 9 && message.includes("DESTROYED")) return fail("key_destroyed", "the Google Cloud KMS key version was destroyed: what it wrapped is gone");
  const known = ANSWERS.get(code);
  if (known !== undefined) return fail(known[1], `${known[2]} (${known[0]})`);
  return isNetworkError(error) ? fail("kms_unavailable", `${AWAY} (${nameOf(error)})`) : undefined;
}

function translateOpening(error: unknown): SealpointError | undefined {
  if ((error as { code?: unknown } | undefined)?.code !== 3) return translate(error);
  return fail("authentication_failed", "Google Cloud KMS does not open this under this key: wrong key, wrong context, or changed bytes");
}
