/** One login: the tenant's client key, in memory only, and where values belong. */

import { Context, DataKey } from "sealpoint";
import { getBytes, getJson, postForText, sendBytes, sendJson } from "./api.js";

export class Session {
  #key;
  #ending = new AbortController();

  constructor(user, tenant, maxUpload, key) {
    this.user = user;
    this.tenant = tenant;
    this.maxUpload = maxUpload;
    this.#key = key;
  }

  static async begin(user) {
    const { tenant, maxUpload } = await sendJson("POST", "/api/login", { user });
    const key = DataKey.import(await postForText("/api/key"));
    if (key.tenant !== tenant) {
      key.dispose();
      throw Object.assign(new Error("the server sent the key of another tenant"), { code: "authentication_failed" });
    }
    return new Session(user, tenant, maxUpload, key);
  }

  /** Aborted when the session ends. */
  get signal() {
    return this.#ending.signal;
  }

  /** The key's name, which is not secret. */
  get keyName() {
    return String(this.#key);
  }

  /** Wipes the key. What still runs is cancelled. */
  end() {
    this.#ending.abort();
    this.#key.dispose();
  }

  /** Sealed fields, and values that must not open: `{ fields, intruders }`. */
  records() {
    return getJson("/api/records");
  }

  openField({ document, path, sealed }) {
    return this.#key.openText(sealed, this.#field(document, path));
  }

  sealField({ document, path }, value) {
    return this.#key.sealText(value, this.#field(document, path));
  }

  /** What Python reads from it. */
  async sendField({ document, path }, sealed) {
    return (await sendJson("PUT", "/api/field", { document, path, sealed })).read;
  }

  fetchLog(signal) {
    return getBytes("/api/log", signal);
  }

  openLog(sealed, watch) {
    return this.#key.openAsync(sealed, this.#file("calls.csv"), watch);
  }

  sealUpload(bytes, watch) {
    return this.#key.sealAsync(bytes, this.#file("upload"), watch);
  }

  /** What Python reads from it: `{ bytes, sha256 }`. */
  sendUpload(sealed, signal) {
    return sendBytes("/api/upload", sealed, signal);
  }

  /** The same positions as in `records.py`. */
  #field(document, path) {
    return new Context({ tenant: this.tenant, purpose: "field", document, path });
  }

  #file(name) {
    return new Context({ tenant: this.tenant, purpose: "example.file", file: name });
  }
}
