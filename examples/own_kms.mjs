// A key service of your own in thirty lines: anything with `uri`, `capabilities`, `wrap` and `unwrap` is a provider.
//
// Here an HTTP service wraps: POST /wrap and /unwrap, bytes in and out, the context's canonical bytes in a header.
// npm install sealpoint && node own_kms.mjs
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { errorCodes, SecretKey } from "sealpoint";

const CODES = { 401: "kms_denied", 403: "kms_denied", 404: "key_not_found", 410: "key_disabled", 422: "authentication_failed", 429: "kms_throttled" };

export class HttpKms {
  // True only if the service itself refuses another context, and if nobody without the KEK can make a wrap.
  capabilities = { bindsContext: true, authenticates: true };
  #request;

  constructor(url, key, { timeout = 5 } = {}) {
    this.uri = `http-kms:${key}`; // the KEK's name in the key store: it never changes its meaning, and holds no secret
    this.#request = (verb, body, headers) =>
      fetch(`${url}/${verb}`, { method: "POST", body, headers: { "X-Key": key, ...headers }, signal: AbortSignal.timeout(timeout * 1000) });
  }

  async wrap(secret, context) {
    const plaintext = secret.expose();
    try {
      return { wrapped: await this.#post("wrap", plaintext, context), wrapAlg: "http-kms-v1", kekVersion: "" };
    } finally {
      plaintext.fill(0);
    }
  }

  async unwrap({ wrapped }, context) {
    return SecretKey.fromBytes(await this.#post("unwrap", wrapped, context));
  }

  async #post(verb, body, context) {
    const answer = await this.#request(verb, body, { "X-Context": Buffer.from(context.canonical).toString("base64") }); // an outage: kms_unavailable
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
    const code = CODES[answer.status] ?? "kms_unavailable";
    throw Object.assign(new Error(`the key service answered with HTTP status ${answer.status}`), { code, retryable: errorCodes[code] });
  }
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const { Context, Keyring } = await import("sealpoint");
  const { keyService } = await import("./own_kms_server.mjs");
  const service = await keyService();
  const keyring = await Keyring.connect("memory:", { kek: new HttpKms(service.url, "kek-1") });
  const note = new Context({ tenant: "acme", purpose: "app.note", note: "n-1" });
  console.log(await keyring.openText(await keyring.sealText("call back on Monday", note), note));
  await keyring.close();
  service.close();
}
