/** The entry for Node: the native module, or where there is none for this machine, WebAssembly. Built as CommonJS; `node.mjs` is a view of it, so that there is one instance. */

import wasm from "../build/wasm/sealpoint_bg.wasm";
import { install, installAbsent } from "./backend.js";
import { allocateWith } from "./check.js";
import type { Core } from "./core.js";
import { instantiate } from "./instantiate.js";
import { AwsKmsProvider } from "./kms/aws.js";
import { GcpKmsProvider } from "./kms/gcp.js";
import { alsoKnow } from "./kms/local.js";
import { Pkcs11Provider } from "./kms/pkcs11.js";
import { OfflineRecoveryProvider, RecoveryKey, RecoveryProvider, RecoveryPublicKey } from "./kms/recovery.js";
import { lieAt } from "./platform.js";

/** Where a bundler put this file: beside a folder of packages, or nowhere in particular. */
const here = typeof __filename === "string" ? __filename : `${process.cwd()}/sealpoint.cjs`;
lieAt(here);

// From some size on, writing zeros first is a third of the time of a seal.
allocateWith((length) => (length < 32_768 ? new Uint8Array(length) : new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)));

const failures: string[] = [];
if (!platforms().some(loadNative)) loadWasm();

// One URI for one KEK: without the slashes it names nothing.
const afterSlashes = (rest: string) => (rest.startsWith("//") ? rest.slice(2) : "");
alsoKnow("aws-kms", (rest) => new AwsKmsProvider(afterSlashes(rest)));
alsoKnow("gcp-kms", (rest) => new GcpKmsProvider(afterSlashes(rest)));
alsoKnow("pkcs11", (rest) => new Pkcs11Provider(`pkcs11:${rest}`));
alsoKnow("recovery", RecoveryProvider.fromFile);
alsoKnow("sealpoint-recovery-public", (rest) => new RecoveryProvider(`sealpoint-recovery-public:${rest}`));

export * from "./index.js";
/** What `sealpoint/kms/*` are views of. */
export const _kms = { AwsKmsProvider, GcpKmsProvider, OfflineRecoveryProvider, Pkcs11Provider, RecoveryKey, RecoveryProvider, RecoveryPublicKey };

/** As napi-rs names them. Of the two C libraries that a Linux can have, the other's module does not load. */
function platforms(): string[] {
  const name = `${process.platform}-${process.arch}`;
  if (process.platform === "linux") return [`${name}-gnu`, `${name}-musl`];
  return [process.platform === "win32" ? `${name}-msvc` : name];
}

function loadNative(platform: string): boolean {
  // Hidden from bundlers, which could not pack a `.node` file.
  const require = process.getBuiltinModule("node:module").createRequire(here);
  return [`./sealpoint.${platform}.node`, `@sealpoint/native-${platform}`].some((place) => {
    try {
      install(require(place) as Core, "native");
      return true;
    } catch (error) {
      const absent = (error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND";
      failures.push(`${place}: ${absent ? "not installed" : (error as Error).message}`);
      return false;
    }
  });
}

function loadWasm(): void {
  try {
    install(instantiate(wasm), "wasm");
  } catch (error) {
    installAbsent("missing_dependency", `neither the native module nor WebAssembly can be loaded: ${[...failures, error].join("; ")}`);
    return;
  }
  const message = `no native module for ${platforms().join(" or ")} could be loaded, WebAssembly is used: the same bytes, but slower (${failures.join("; ")})`;
  process.emitWarning(message, { type: "SealpointWarning", code: "SEALPOINT_WASM" });
}
