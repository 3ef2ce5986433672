/**
 * KEKs that this process holds itself: `env:NAME` and `file:PATH` (SPEC section 6).
 *
 * The value is 32 random bytes as base64 (43 or 44 characters) or 64 hex digits; a file may also hold the 32 bytes. `sealpoint keygen` (of the Python package) makes one. It is read
 * once, when the provider is made, and then lives in the Rust module.
 */

import type { Context } from "../context.js";
import { fail, isSealpointError, type SealpointError } from "../errors.js";
import { Hidden } from "../hide.js";
import { LocalKek, type SecretKey } from "../keys.js";
import { needed, neededProcess } from "../platform.js";
import type { KeyManagementProvider, ProviderCapabilities, WrappedKey } from "./provider.js";

const WRAP_ALG = "sealpoint-v1";
const MAX_FILE_LEN = 4096;
const LATER_SCHEMES = ["azure-kv", "hcvault"];
const NODE_SCHEMES = ["aws-kms", "gcp-kms", "pkcs11", "recovery", "sealpoint-recovery-public"];
const OWN_OPTIONS = ["pkcs11"];

/** What makes the provider of a scheme, from what comes after the colon. */
export type Maker = (rest: string) => KeyManagementProvider;

const PROVIDERS = new Map<string, Maker>([
  ["env", (name) => new EnvProvider(name)],
  ["file", (path) => new FileProvider(path)],
]);

/** Schemes whose providers one entry alone brings along: that of Node says it. */
export function alsoKnow(scheme: string, make: Maker): void {
  PROVIDERS.set(scheme, make);
}

/**
 * The provider that a KEK's URI names: `env:NAME`, `file:PATH`, and in Node `aws-kms://ARN`, `gcp-kms://projects/…/cryptoKeys/NAME`, `pkcs11:…` (RFC 7512), or `recovery:PATH`, the
 * file with a recovery key's public half; or that half itself. Only `pkcs11:` takes options.
 *
 * Throws: `missing_dependency` (its package is not installed, a scheme of Node or of a later release, or a runtime without environment and files), `invalid_argument` (anything
 * else, and what the provider itself says).
 */
export function providerFromUri(uri: string): KeyManagementProvider {
  const colon = uri.indexOf(":");
  const [scheme, rest] = colon < 0 ? [uri, ""] : [uri.slice(0, colon), uri.slice(colon + 1)];
  if (isKey(uri) || (isKey(rest) && !rest.startsWith("/"))) {
    throw fail("invalid_argument", "kek was given a KEK itself; it takes the KEK's place: env:NAME or file:PATH");
  }
  const make = colon < 0 ? undefined : PROVIDERS.get(scheme);
  if (make === undefined) {
    const known = [...PROVIDERS.keys()].map((scheme) => `${scheme}:`).join(", ");
    if (NODE_SCHEMES.includes(scheme))
      throw fail("missing_dependency", `${scheme}: is for Node alone, with import from "sealpoint"; or pass a provider object`);
    if (LATER_SCHEMES.includes(scheme)) throw fail("missing_dependency", `${scheme}: is not in this release, which knows ${known}; or pass a provider object`);
    throw fail("invalid_argument", `not the URI of a KEK; this release knows ${known}`);
  }
  if (!OWN_OPTIONS.includes(scheme) && /[?#]/.test(rest)) throw fail("invalid_argument", `${scheme}: takes no options: remove what follows '?' or '#'`);
  return make(rest);
}

/** A `LocalKek` behind the provider protocol. */
class LocalProvider extends Hidden implements KeyManagementProvider {
  readonly capabilities: ProviderCapabilities = Object.freeze({ bindsContext: true, authenticates: true });
  readonly #kek: LocalKek;

  constructor(
    readonly uri: string,
    kek: LocalKek,
  ) {
    super();
    this.#kek = kek;
  }

  /** A wrapped key of SPEC section 6; its version is the `kekId` in hex. */
  wrap(secret: SecretKey, context: Context): WrappedKey {
    const kekVersion = Array.from(this.#kek.kekId, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return { wrapped: this.#kek.wrap(secret, context), wrapAlg: WRAP_ALG, kekVersion };
  }

  /** Throws what `LocalKek.unwrap` throws. */
  unwrap(wrapped: WrappedKey, context: Context): SecretKey {
    return this.#kek.unwrap(wrapped.wrapped, context);
  }

  override toString(): string {
    return `${this.constructor.name}(${JSON.stringify(this.uri)})`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** The KEK in an environment variable. */
class EnvProvider extends LocalProvider {
  /** Throws: `invalid_argument` (no such variable, or not a KEK in it). */
  constructor(name: string) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      throw fail("invalid_argument", "env: is followed by the name of an environment variable, such as env:SEALPOINT_KEK");
    }
    const value = neededProcess("a KEK of env:").env[name];
    if (value === undefined) {
      throw fail("invalid_argument", `the environment variable ${name} is not set; \`sealpoint keygen\` prints a KEK to put there`);
    }
    super(`env:${name}`, parse(value, `the environment variable ${name}`));
  }
}

/** The KEK in a file that only its owner can read. */
class FileProvider extends LocalProvider {
  /** A relative path counts from the current folder. Throws: `invalid_argument` (no such file, readable by others, not a KEK). */
  constructor(path: string) {
    if (path === "" || path.includes("\0") || (path.startsWith("//") && !path.startsWith("///"))) {
      throw fail("invalid_argument", "file: is followed by the path of a file on this machine, such as file:/run/secrets/kek");
    }
    const content = readPrivate(path, "KEK", "`sealpoint keygen --file PATH` makes one");
    try {
      super(`file:${path}`, parse(content, `the file ${path}`));
    } finally {
      content.fill(0);
    }
  }
}

function parse(value: string | Uint8Array, place: string): LocalKek {
  try {
    return LocalKek.parse(value);
  } catch (error) {
    if (isSealpointError(error) && error.code === "invalid_argument") throw fail("invalid_argument", `${place} holds no KEK: ${error.message}`);
    throw error;
  }
}

/**
 * The file's bytes, if nobody but its owner may touch it. Checked on what was opened: a path can change meanwhile.
 *
 * `what`: it holds, or should; `remedy`: for a file that is not there. Throws: `invalid_argument`.
 */
export function readPrivate(path: string, what: string, remedy: string): Uint8Array {
  const fs = needed("fs", `a ${what} of file:`);
  const { O_RDONLY, O_NONBLOCK } = fs.constants;
  let descriptor: number;
  try {
    descriptor = fs.openSync(path, O_RDONLY | (O_NONBLOCK ?? 0));
  } catch (error) {
    throw unreadable(path, error, remedy);
  }
  try {
    const status = fs.fstatSync(descriptor);
    if (!status.isFile()) {
      const kind = status.isDirectory() ? "folder" : "device or pipe";
      throw fail("invalid_argument", `${path} is a ${kind}; file: needs the path of a file that holds the ${what}`);
    }
    if (neededProcess(`a ${what} of file:`).platform !== "win32" && (status.mode & 0o077) !== 0) {
      const mode = (status.mode & 0o7777).toString(8).padStart(3, "0");
      throw fail("invalid_argument", `others than its owner have access to the file ${path} (mode ${mode}): run chmod 600 on it`);
    }
    if (status.size > MAX_FILE_LEN) throw fail("invalid_argument", `the file ${path} holds no ${what}: it has ${status.size} bytes`);
    const content = new Uint8Array(MAX_FILE_LEN);
    return content.subarray(0, fs.readSync(descriptor, content));
  } catch (error) {
    throw isSealpointError(error) ? error : unreadable(path, error, remedy);
  } finally {
    fs.closeSync(descriptor);
  }
}

function unreadable(path: string, error: unknown, remedy: string): SealpointError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return fail("invalid_argument", `there is no file ${path}; ${remedy}`);
  return fail("invalid_argument", `the file ${path} cannot be read (${code}); its owner must be the user that runs this, mode 600`);
}

function isKey(text: string): boolean {
  try {
    LocalKek.parse(text).dispose();
    return true;
  } catch {
    return false;
  }
}
