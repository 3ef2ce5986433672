// SoftHSM2, a real token in software, with a folder of its own: Debian's package, or SEALPOINT_TEST_SOFTHSM, where one was unpacked.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import p11 from "pkcs11js";

export const [PIN, SO_PIN, TOKEN] = ["pin-nobody-may-see", "so-pin-nobody-may-see", "sealpoint tests"];
const ROOT = process.env.SEALPOINT_TEST_SOFTHSM ?? "/";
export const LIBRARY = join(ROOT, "usr/lib/softhsm/libsofthsm2.so");
const UTIL = join(ROOT, "usr/bin/softhsm2-util");

/** What is said where there is none; with SEALPOINT_STRICT=1 the tests run, and fail. */
export const skip = ![LIBRARY, UTIL].every(existsSync) && process.env.SEALPOINT_STRICT !== "1" && "SoftHSM2 is not installed: apt install softhsm2";

/** A token in a folder that `close` removes, and the environment in which it is found. A process reads the list of tokens once, so there is one for all tests of a file. */
export function softHsm(conf = "") {
  const folder = mkdtempSync(join(tmpdir(), "sealpoint-softhsm-"));
  mkdirSync(join(folder, "tokens"));
  const file = join(folder, "softhsm2.conf");
  writeFileSync(file, `directories.tokendir = ${folder}/tokens\nlog.level = ERROR\n${conf}\n`);
  const env = { ...process.env, SOFTHSM2_CONF: file, SOFTHSM_PIN: PIN };
  execFileSync(UTIL, ["--module", LIBRARY, "--init-token", "--free", "--label", TOKEN, "--so-pin", SO_PIN, "--pin", PIN], { env });
  return { env, close: () => rmSync(folder, { recursive: true }) };
}

/** A session in which keys are made and destroyed, as an operator would. */
export class Operator {
  constructor() {
    this.library = new p11.PKCS11();
    this.library.load(LIBRARY);
    this.library.C_Initialize({ flags: p11.CKF_OS_LOCKING_OK });
    const slot = this.library.C_GetSlotList(true).find((slot) => this.library.C_GetTokenInfo(slot).label.startsWith(TOKEN));
    this.session = this.library.C_OpenSession(slot, p11.CKF_SERIAL_SESSION | p11.CKF_RW_SESSION);
    this.library.C_Login(this.session, p11.CKU_USER, PIN);
  }

  make(label, { bits = 256, id, without = [] } = {}) {
    const template = [
      { type: p11.CKA_CLASS, value: p11.CKO_SECRET_KEY },
      { type: p11.CKA_KEY_TYPE, value: p11.CKK_AES },
      { type: p11.CKA_LABEL, value: label },
      { type: p11.CKA_TOKEN, value: true },
      { type: p11.CKA_SENSITIVE, value: true },
      { type: p11.CKA_EXTRACTABLE, value: false },
      { type: p11.CKA_VALUE_LEN, value: bits / 8 },
      ...["ENCRYPT", "DECRYPT", "WRAP", "UNWRAP"].map((right) => ({ type: p11[`CKA_${right}`], value: !without.includes(right) })),
      ...(id ? [{ type: p11.CKA_ID, value: id }] : []),
    ];
    return this.library.C_GenerateKey(this.session, { mechanism: p11.CKM_AES_KEY_GEN }, template);
  }

  destroyAll() {
    this.library.C_FindObjectsInit(this.session, [{ type: p11.CKA_CLASS, value: p11.CKO_SECRET_KEY }]);
    const keys = this.library.C_FindObjects(this.session, 100);
    this.library.C_FindObjectsFinal(this.session);
    for (const key of keys) this.library.C_DestroyObject(this.session, key);
  }
}

export function uri(label, changes = {}) {
  const path = { token: TOKEN.replace(" ", "%20"), object: label };
  const query = { "module-path": LIBRARY, "pin-source": "env:SOFTHSM_PIN" };
  for (const [key, value] of Object.entries(changes)) (key in query ? query : path)[key] = value;
  const joined = (parts, separator) =>
    Object.entries(parts)
      .filter(([, value]) => value)
      .map(([key, value]) => `${key}=${value}`)
      .join(separator);
  return `pkcs11:${joined(path, ";")}?${joined(query, "&")}`;
}
