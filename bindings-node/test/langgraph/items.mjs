// Items of a store as an application in JavaScript leaves them, for tests in other languages: `node items.mjs '{"url": …}'`. With `keys` and `kek` sealed, else bare.
import { PostgresStore } from "@langchain/langgraph-checkpoint-postgres/store";

const { url, keys, kek, tenant = "acme", secret } = JSON.parse(process.argv[2]);
const inner = PostgresStore.fromConnString(url);
let [store, keyring] = [inner];
if (keys !== undefined) {
  const [{ Keyring, fixed }, { SealedStore }] = await Promise.all([import("sealpoint"), import("sealpoint/langgraph")]);
  keyring = await Keyring.connect(keys, { kek });
  store = new SealedStore(inner, keyring, { tenant: fixed(tenant) });
}
await store.setup();
await store.put(["users", "u-1"], "diet", { note: secret, calories: 1800 });
await inner.stop?.();
await inner.end?.();
await keyring?.close();
