/** One `setup()` for a LangGraph object and the keyring. */

import type { Keyring } from "sealpoint";

/** Sets up both. An inner object without a `setup` needs none. */
export async function setUp(inner: object, keyring: Keyring): Promise<void> {
  const { setup } = inner as { setup?: unknown };
  if (typeof setup === "function") await setup.call(inner);
  await keyring.setup();
}
