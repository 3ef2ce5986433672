/**
 * AWS KMS: `aws-kms://ARN`, by the AWS SDK (`npm install @aws-sdk/client-kms`). Node only.
 *
 * The ARN is that of a symmetric key, or of an alias that keeps leading to the same key. Credentials and endpoints (`AWS_ENDPOINT_URL_KMS`) are found as the SDK finds them; the
 * region is the ARN's. The identity needs `kms:Encrypt` and `kms:Decrypt`.
 */

import type * as Aws from "@aws-sdk/client-kms";
import { options } from "../check.js";
import type { Context } from "../context.js";
import { type ErrorCode, fail, type SealpointError } from "../errors.js";
import { hide } from "../hide.js";
import type { SecretKey } from "../keys.js";
import { optional } from "../platform.js";
import { Budget, DEADLINE_S, exposed, isNetworkError, nameOf, secretFrom } from "./calls.js";
import type { KeyManagementProvider, ProviderCapabilities, WrappedKey } from "./provider.js";

const PACKAGE = "@aws-sdk/client-kms";
const WRAP_ALG = "SYMMETRIC_DEFAULT";
const ARN = /^arn:aws[a-z-]*:kms:([a-z0-9-]{1,64}):[0-9]{12}:(key\/[A-Za-z0-9-]{1,256}|alias\/[A-Za-z0-9/_-]{1,256})$/;
const SERVICE = "AWS KMS";

/** What every request names. */
interface Request {
  KeyId: string;
  EncryptionAlgorithm: "SYMMETRIC_DEFAULT";
  EncryptionContext: Record<string, string>;
}

/** What is used of the SDK's `KMS`. */
export interface AwsKmsClient {
  encrypt(
    input: Request & { Plaintext: Uint8Array },
    options?: { abortSignal?: AbortSignal },
  ): Promise<{ CiphertextBlob?: Uint8Array | undefined; KeyId?: string | undefined }>;
  decrypt(
    input: Request & { CiphertextBlob: Uint8Array },
    options?: { abortSignal?: AbortSignal },
  ): Promise<{ Plaintext?: Uint8Array | undefined; KeyId?: string | undefined }>;
}

export interface AwsKmsOptions {
  /** A `KMS` (from `@aws-sdk/client-kms`) of your own. Its timeouts and retries hold instead of `deadline`. */
  client?: AwsKmsClient;
  /** Seconds that a call may take, retries included; 10 by default, at most 120. */
  deadline?: number;
}

/** One key of AWS KMS. The service binds the context's pairs, and only this key opens what it wrapped. */
export class AwsKmsProvider implements KeyManagementProvider {
  readonly uri: string;
  readonly capabilities: ProviderCapabilities = Object.freeze({ bindsContext: true, authenticates: true });
  readonly #arn: string;
  readonly #isAlias: boolean;
  readonly #budget: Budget;
  readonly #given: boolean;
  readonly #connect: () => AwsKmsClient;
  #client: AwsKmsClient | undefined;
  #answered = false;

  /** `arn`: `arn:aws:kms:REGION:ACCOUNT:key/ID` or `…:alias/NAME`. Throws: `invalid_argument`, `missing_dependency` (the SDK is not installed). */
  constructor(arn: string, given?: AwsKmsOptions) {
    const { client, deadline = DEADLINE_S } = options(given, ["client", "deadline"]);
    const match = typeof arn === "string" ? ARN.exec(arn) : null;
    if (match === null) {
      throw fail(
        "invalid_argument",
        "aws-kms:// is followed by the ARN of a key or alias, and takes no options: " +
          "aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID; another endpoint is set by AWS_ENDPOINT_URL_KMS",
      );
    }
    const [, region = "", resource = ""] = match;
    this.uri = `aws-kms://${arn}`;
    this.#arn = arn;
    this.#isAlias = resource.startsWith("alias/");
    this.#budget = new Budget(deadline, SERVICE);
    this.#given = client !== undefined;
    if (client === undefined) {
      const { KMS } = optional<typeof Aws>(PACKAGE, "a KEK of aws-kms:");
      this.#connect = () => connect(KMS, region, this.#budget.attempt);
    } else {
      if (typeof client?.encrypt !== "function" || typeof client.decrypt !== "function") {
        throw fail("invalid_argument", `client is a KMS of ${PACKAGE} (a KMSClient has no methods)`);
      }
      this.#connect = () => client;
    }
  }

  /** By `Encrypt`. The version is the ARN of the key, also where an alias led to it. */
  wrap(secret: SecretKey, context: Context): Promise<WrappedKey> {
    return exposed(secret, (Plaintext) =>
      this.#call(async (client, request) => {
        const answer = await client.encrypt({ ...this.#request(context), Plaintext }, request);
        const kekVersion = this.#checked(answer.KeyId);
        return { wrapped: answer.CiphertextBlob as Uint8Array, wrapAlg: WRAP_ALG, kekVersion };
      }),
    );
  }

  /** By `Decrypt`, under this key alone: what the ciphertext or the row names is not followed. */
  unwrap(wrapped: WrappedKey, context: Context): Promise<SecretKey> {
    return this.#call(async (client, request) => {
      const answer = await client.decrypt({ ...this.#request(context), CiphertextBlob: wrapped.wrapped }, request);
      try {
        this.#checked(answer.KeyId);
        return secretFrom(answer.Plaintext, SERVICE);
      } finally {
        answer.Plaintext?.fill(0);
      }
    });
  }

  toString(): string {
    return `AwsKmsProvider(${JSON.stringify(this.#arn)})`;
  }

  toJSON(): string {
    return this.toString();
  }

  #request(context: Context): Request {
    return { KeyId: this.#arn, EncryptionAlgorithm: WRAP_ALG, EncryptionContext: context.pairs() };
  }

  #call<T>(work: (client: AwsKmsClient, request: { abortSignal?: AbortSignal }) => Promise<T>): Promise<T> {
    const send = (abortSignal?: AbortSignal) => {
      this.#client ??= this.#connect();
      return work(this.#client, abortSignal === undefined ? {} : { abortSignal });
    };
    const translated = (error: unknown) => this.#translate(error);
    return this.#given ? this.#budget.once(send, translated) : this.#budget.run(send, translated);
  }

  #checked(keyId: unknown): string {
    if (typeof keyId !== "string") throw away("what answered is not AWS KMS");
    this.#answered = true;
    if (!this.#isAlias && keyId !== this.#arn) {
      throw fail("authentication_failed", "AWS KMS used another key than the one it was asked to use");
    }
    return keyId;
  }

  /** The service's own text is not passed on: it names identities and keys. */
  #translate(error: unknown): SealpointError | undefined {
    const { name = "", $fault, $metadata } = (error ?? {}) as ServiceError;
    if ($fault !== undefined) return translateAnswer(name, $metadata?.httpStatusCode);
    // The SDK does not say why it has none: where there were some, as with a container's, fetching new ones has failed.
    if (name === "CredentialsProviderError") return this.#answered ? away(name) : fail("kms_denied", NONE);
    if (name === "TokenProviderError") return fail("kms_denied", CREDENTIALS);
    return isNetworkError(error) || error instanceof SyntaxError ? away(nameOf(error)) : undefined;
  }
}
hide(AwsKmsProvider);

/** What the SDK throws for an answer of the service. */
interface ServiceError {
  name?: string;
  $fault?: string;
  $metadata?: { httpStatusCode?: number };
}

/** A client that does not retry, since the budget does, and logs nothing. */
function connect(KMS: typeof Aws.KMS, region: string, attempt: number): Aws.KMS {
  return new KMS({ region, maxAttempts: 1, retryMode: "standard", requestHandler: { connectionTimeout: attempt / 3 } });
}

const DENIED = "AWS KMS refuses this identity: it needs kms:Encrypt and kms:Decrypt on the key, from its policies, the key's policy or a grant";
const CREDENTIALS = "AWS does not accept the credentials: they are expired or unknown; renew them";
const CLOCK = "AWS does not accept the request's signature: set this machine's clock, or check the secret access key";
const NONE = "the AWS SDK finds no AWS credentials: configure a role, a profile or AWS_ACCESS_KEY_ID";
const SLOWER = "AWS KMS has had too many requests";
const AWAY = "AWS KMS cannot be reached, or failed";
const DISABLED = "the AWS KMS key is disabled, pending deletion, or otherwise not usable: enable it or cancel its deletion";
const UNKNOWN = "AWS KMS does not know this key or alias: check the ARN; a deleted key is gone for good";
const WRONG = "AWS KMS does not open this under this key: wrong key, wrong context, or changed bytes";
const KIND = "the AWS KMS key cannot do this: it takes a symmetric key for ENCRYPT_DECRYPT";

const ANSWERS: readonly [ErrorCode, string, readonly string[]][] = [
  ["kms_denied", DENIED, ["AccessDeniedException", "AccessDenied", "NotAuthorized", "OptInRequired", "DryRunOperationException"]],
  [
    "kms_denied",
    CREDENTIALS,
    [
      "ExpiredTokenException",
      "ExpiredToken",
      "UnrecognizedClientException",
      "InvalidClientTokenId",
      "InvalidIdentityToken",
      "InvalidIdentityTokenException",
      "MissingAuthenticationToken",
      "MissingAuthenticationTokenException",
    ],
  ],
  [
    "kms_denied",
    CLOCK,
    ["InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException", "RequestExpired", "RequestTimeTooSkewed"],
  ],
  [
    "kms_throttled",
    SLOWER,
    [
      "ThrottlingException",
      "Throttling",
      "ThrottledException",
      "RequestThrottled",
      "RequestThrottledException",
      "RequestLimitExceeded",
      "TooManyRequestsException",
      "LimitExceededException",
    ],
  ],
  ["kms_unavailable", AWAY, ["KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "RequestTimeout"]],
  ["key_disabled", DISABLED, ["DisabledException", "KMSInvalidStateException"]],
  ["key_not_found", UNKNOWN, ["NotFoundException"]],
  ["authentication_failed", WRONG, ["InvalidCiphertextException", "IncorrectKeyException"]],
  ["invalid_argument", KIND, ["InvalidKeyUsageException", "ValidationException", "InvalidArnException", "UnsupportedOperationException"]],
];
const BY_NAME = new Map(ANSWERS.flatMap(([code, remedy, names]) => names.map((name) => [name, [code, remedy] as const])));

function translateAnswer(name: string, status = 0): SealpointError | undefined {
  const known = BY_NAME.get(name);
  if (known !== undefined) return fail(known[0], `${known[1]} (${name})`);
  if (status === 429) return fail("kms_throttled", SLOWER);
  if (status >= 500) return away(`HTTP status ${status}`);
  return status === 401 || status === 403 ? fail("kms_denied", `${DENIED} (HTTP status ${status})`) : undefined;
}

function away(why: string): SealpointError {
  return fail("kms_unavailable", `${AWAY} (${why})`);
}
