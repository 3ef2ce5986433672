// Compiled under `strict` with every module resolution; the lines marked as errors have to be errors.
import {
  type Bytes,
  backend,
  Context,
  type ContextPairs,
  DataKey,
  DekCache,
  type ErrorCode,
  isSealpointError,
  LocalKek,
  type SealpointError,
  SecretKey,
  version,
} from "sealpoint";
import { init, Context as OtherContext } from "sealpoint/wasm";

const pairs: ContextPairs = { tenant: "acme", purpose: "x", n: 3, big: 3n, list: ["a"] as const };
const context: Context = new Context(pairs).extend({ version: 1.5 });
const { key, secret }: { key: DataKey; secret: SecretKey } = DataKey.generate({ tenant: "acme", dekPurpose: 1 });
const sealed: Bytes = key.seal(new Uint8Array(3), context, { contentType: "x", pad: true });
const opened: Promise<Uint8Array> = key.openAsync(
  sealed.buffer.slice(0),
  { tenant: "acme", purpose: "x" },
  { onProgress: (done: number, total: number) => void (done / total), signal: new AbortController().signal },
);
opened.catch(() => {});
const maybe: Uint8Array | undefined = new DekCache({ ttl: 1, pointerTtl: 1, capacity: 1 }).seal(sealed, context);
const kek = LocalKek.parse(SecretKey.generate().expose());
kek[Symbol.dispose]();
const where: "native" | "wasm" = backend;
try {
  key.open("x", context);
} catch (error) {
  if (isSealpointError(error)) {
    const code: ErrorCode = error.code;
    const retryable: boolean = (error satisfies SealpointError).retryable;
    console.log(JSON.stringify({ code, retryable, where, version, maybe: maybe === undefined }));
  }
}

export function mistakes(): void {
  // @ts-expect-error a string is no payload
  key.seal("text", context);
  // @ts-expect-error a context has a tenant
  new Context({ purpose: "x" });
  // @ts-expect-error no such option
  key.seal(sealed, context, { padding: true });
  // @ts-expect-error made by a factory
  new DataKey();
  // @ts-expect-error null is no value
  new Context({ tenant: "acme", purpose: "x", n: null });
  // @ts-expect-error not a code
  const code: ErrorCode = "oops";
  // @ts-expect-error the cache may not hold the key
  const sure: Uint8Array = new DekCache({ ttl: 1, pointerTtl: 1, capacity: 1 }).seal(sealed, context);
  // @ts-expect-error
  secret.bytes;
  init(new Uint8Array(0));
  void [code, sure, OtherContext];
}
