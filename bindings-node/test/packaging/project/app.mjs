// What each runtime and each bundle runs: prints one line of JSON.
import { backend, Context, DataKey, DekCache, isSealpointError, LocalKek, SecretKey, toText, wrapContext } from "sealpoint";

export async function main() {
  const { key, secret } = DataKey.generate({ tenant: "acme" });
  const context = new Context({ tenant: "acme", purpose: "field", document: "u-42", path: "/card" });
  const kek = LocalKek.parse(SecretKey.generate().expose());
  const place = wrapContext({ tenant: "acme", dekId: key.dekId, dekPurpose: 1, suite: 1 });
  const again = DataKey.fromSecret(kek.unwrap(toText(kek.wrap(secret, place), "wrapped-key"), place), key);
  const text = again.openText(key.sealText("4111 – é", context), context);

  const payload = Uint8Array.from({ length: 5_000_000 }, (_, i) => i % 251);
  const sealed = await key.sealAsync(payload, context, { contentType: "x" });
  const opened = await again.openAsync(sealed, context);
  const sync = key.open(sealed, context);
  const same = opened.length === payload.length && opened.every((byte, i) => byte === payload[i] && byte === sync[i]);

  const cache = new DekCache({ ttl: 3600, pointerTtl: 3600, capacity: 1 });
  cache.insert(key, { active: true });
  const cached = cache.open(cache.seal(new Uint8Array(3), context), context).length;

  let refused;
  try {
    key.open(sealed, { tenant: "acme", purpose: "other" });
  } catch (error) {
    refused = isSealpointError(error) && error.code;
  }
  return { backend, text, same, cached, refused };
}
