// What is compared, in Node and in pages alike. A contender seals bytes with fresh randomness and opens what it sealed; all bind the same position of seven names.

export const SEALPOINT = "sealpoint";
export const OBJECT = "sealpoint, context as an object";
export const EXTENDED = "sealpoint, context extended per call";
export const WASM = "sealpoint WASM";
export const WASM_OBJECT = "sealpoint WASM, context as an object";
export const WASM_ASYNC = "sealpoint WASM, async";
export const NODE_CRYPTO = "node:crypto AES-256-GCM";
export const WEBCRYPTO = "WebCrypto AES-256-GCM";
export const NOBLE = "@noble/ciphers gcm";

/** Written out anew each time, as a caller that prepares no context does. */
export const position = () => ({
  tenant: "acme",
  purpose: "langgraph.write",
  thread: "0b8a3f6e-58c6-4d0e-9d3a-0d5a4c1f7b21",
  ns: "",
  checkpoint: "1f0b9c1e-7d3a-6b52-8002-5e8f3a9d4c10",
  task: "7c9e6679-7425-40de-944b-e07fc1f90ae7",
  channel: "messages",
});

const NONCE_LEN = 12;

function generate({ DataKey, Context }) {
  return { key: DataKey.generate({ tenant: position().tenant }).key, context: new Context(position()) };
}

/** What a peer that takes bytes binds: the same names, encoded once. */
export function boundBytes({ Context }) {
  return new Context(position()).canonical;
}

/** With a context that was prepared once. */
export function sealpoint(api) {
  const { key, context } = generate(api);
  return { seal: (payload) => key.seal(payload, context), open: (sealed) => key.open(sealed, context) };
}

/** With the pairs as a plain object, a new one for each call. */
export function sealpointObject(api) {
  const { key } = generate(api);
  return { seal: (payload) => key.seal(payload, position()), open: (sealed) => key.open(sealed, position()) };
}

/** As a saver does it: the position of the task is prepared, the channel's name comes last. */
export function sealpointExtended(api) {
  const { key } = generate(api);
  const { channel, ...task } = position();
  const prepared = new api.Context(task);
  return {
    seal: (payload) => key.seal(payload, prepared.extend({ channel })),
    open: (sealed) => key.open(sealed, prepared.extend({ channel })),
  };
}

/** The calls that give the AES of large payloads to WebCrypto. */
export function sealpointAsync(api) {
  const { key, context } = generate(api);
  return { seal: (payload) => key.sealAsync(payload, context), open: (sealed) => key.openAsync(sealed, context) };
}

/** Bare WebCrypto: the key is imported before, and nonce and ciphertext are not even joined. */
export async function webCrypto(bound) {
  const { subtle } = crypto;
  const key = await subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const algorithm = (iv) => ({ name: "AES-GCM", iv, additionalData: bound });
  return {
    async seal(payload) {
      const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LEN));
      return [nonce, await subtle.encrypt(algorithm(nonce), key, payload)];
    },
    open: async ([nonce, ciphertext]) => new Uint8Array(await subtle.decrypt(algorithm(nonce), key, ciphertext)),
  };
}

/** @noble/ciphers takes the key's bytes for each message. Nonce and ciphertext are not joined either. */
export function noble(gcm, bound) {
  const key = crypto.getRandomValues(new Uint8Array(32));
  return {
    seal(payload) {
      const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LEN));
      return [nonce, gcm(key, nonce, bound).encrypt(payload)];
    },
    open: ([nonce, ciphertext]) => gcm(key, nonce, bound).decrypt(ciphertext),
  };
}

/**
 * The calls to time for one payload, after each contender opened what it sealed.
 *
 * @param {Record<string, { seal: (payload: Uint8Array) => any, open: (sealed: any) => any }>} contenders
 */
export async function calls(contenders, payload) {
  const made = {};
  for (const [name, { seal, open }] of Object.entries(contenders)) {
    const sealed = await seal(payload);
    const opened = await open(sealed);
    if (opened.length !== payload.length || opened.some((byte, i) => byte !== payload[i])) throw new Error(`${name} does not open what it sealed`);
    made[`seal ${name}`] = { run: seal, argument: payload };
    made[`open ${name}`] = { run: open, argument: sealed };
  }
  return made;
}

export function randomPayload(size) {
  const payload = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(payload.subarray(at, at + 65_536));
  return payload;
}
