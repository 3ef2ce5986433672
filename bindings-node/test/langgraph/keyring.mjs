// A stand-in for the keyring: keys in memory, made when a tenant first seals.
import { DataKey, DekCache } from "sealpoint";

export class StandInKeyring {
  _cache = new DekCache({ ttl: 3600, pointerTtl: 3600, capacity: 1000 });
  setups = 0;

  async setup() {
    this.setups += 1;
  }

  #load({ tenant }) {
    const { key } = DataKey.generate({ tenant });
    this._cache.insert(key, { active: true });
  }

  rotate(tenant) {
    this.#load({ tenant });
  }

  async seal(payload, context, how) {
    this.#load(context);
    return this._cache.seal(payload, context, how);
  }

  async sealText(payload, context, how) {
    this.#load(context);
    return this._cache.sealText(payload, context, how);
  }

  async openTyped(sealed, context) {
    const opened = this._cache.openTyped(sealed, context);
    if (opened === undefined) throw Object.assign(new Error("no such key"), { code: "key_not_found", retryable: false });
    return opened;
  }
}
