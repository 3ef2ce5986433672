/** PKCS#11 URIs (RFC 7512): which key of which token, and how to get there. */

import { fail, type SealpointError } from "../errors.js";
import { needed, neededProcess } from "../platform.js";
import { readPrivate } from "./local.js";

const PATH = ["token", "manufacturer", "serial", "model", "object", "id", "type"];
const QUERY = ["module-path", "pin-source"];
const ATTRIBUTE = /^([a-z][a-z0-9-]*)=((?:[A-Za-z0-9\-._~:[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*)$/;
const NEEDS = "a KEK of pkcs11:";

/** What a token says of itself, without the padding. */
export interface TokenNames {
  token: string;
  manufacturer: string;
  serial: string;
  model: string;
}

/** What a URI says, decoded. */
export class Pkcs11Uri {
  readonly #path: ReadonlyMap<string, Buffer>;
  readonly modulePath: string;
  readonly #pinSource: string;

  /** Throws: `invalid_argument`. */
  constructor(uri: string) {
    if (!uri.startsWith("pkcs11:")) throw refuse("it begins with pkcs11:");
    const rest = uri.slice("pkcs11:".length);
    const mark = rest.indexOf("?");
    const path = attributes(mark < 0 ? rest : rest.slice(0, mark), ";", PATH);
    const query = attributes(mark < 0 ? "" : rest.slice(mark + 1), "&", QUERY);
    const given = (name: string) => (path.get(name)?.length ?? 0) > 0;
    if (!(given("token") || given("serial")) || !(given("object") || given("id"))) {
      throw refuse("it names the token (token= or serial=) and the key (object= or id=)");
    }
    if ((path.get("type") ?? "secret-key").toString() !== "secret-key") throw refuse("the key's type is secret-key");
    path.set("type", Buffer.from("secret-key"));
    const [modulePath = "", pinSource = ""] = QUERY.map((name) => utf8(query.get(name) ?? Buffer.alloc(0)));
    if (!needed("path", NEEDS).isAbsolute(modulePath) || modulePath.includes("\0")) {
      throw refuse("module-path= is the absolute path of the token's PKCS#11 library");
    }
    if (!/^(env|file):/.test(pinSource)) throw refuse("pin-source= is env:NAME or file:PATH");
    this.#path = path;
    this.modulePath = modulePath;
    this.#pinSource = pinSource;
  }

  /** The KEK's name: without the way to it, and the same in whatever order and escaping the attributes came. */
  get name(): string {
    const named = PATH.filter((key) => this.#path.has(key)).map((key) => `${key}=${quote(this.#path.get(key) as Buffer)}`);
    return `pkcs11:${named.join(";")}`;
  }

  get object(): string | undefined {
    return this.#path.get("object")?.toString();
  }

  get id(): Buffer | undefined {
    return this.#path.get("id");
  }

  /** Whether it is the token that is meant. */
  matches(token: TokenNames): boolean {
    return Object.entries(token).every(([key, value]) => this.#path.get(key)?.equals(Buffer.from(value)) ?? true);
  }

  /** Throws: `invalid_argument`. */
  readPin(): string {
    const colon = this.#pinSource.indexOf(":");
    const [kind, place] = [this.#pinSource.slice(0, colon), this.#pinSource.slice(colon + 1)];
    if (kind === "env") {
      const pin = neededProcess(NEEDS).env[place];
      if (!pin) throw fail("invalid_argument", `pin-source=: the environment variable ${place} is not set, or empty`);
      return pin;
    }
    const content = readPrivate(place, "PIN", "pin-source=: write the PIN there, mode 600");
    try {
      const pin = utf8(content);
      if (pin === undefined) throw fail("invalid_argument", `pin-source=: the file ${place} holds no UTF-8 text`);
      return pin.replace(/^[\r\n]+|[\r\n]+$/g, "");
    } finally {
      content.fill(0);
    }
  }
}

function attributes(text: string, separator: string, known: readonly string[]): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const part of text === "" ? [] : text.split(separator)) {
    const [, key = "", escaped = ""] = ATTRIBUTE.exec(part) ?? [];
    if (key === "") throw refuse("an attribute is NAME=VALUE, its special characters as %XX");
    if (key === "pin-value") throw refuse("a PIN is not put into it: pin-source=env:NAME or file:PATH");
    if (!known.includes(key) || found.has(key)) throw refuse(`${separator} separates ${known.join(", ")}, each at most once`);
    const value = Buffer.from(
      escaped.replace(/%(..)/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
      "latin1",
    );
    if ((key === "token" || key === "object") && utf8(value) === undefined) throw refuse(`${key}= is UTF-8 text`);
    found.set(key, value);
  }
  return found;
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** Everything but the unreserved characters of RFC 3986 as %XX. */
function quote(bytes: Buffer): string {
  return bytes.toString("latin1").replace(/[^A-Za-z0-9_.~-]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}

function refuse(rule: string): SealpointError {
  return fail("invalid_argument", `not a pkcs11: URI that this release takes: ${rule}`);
}
