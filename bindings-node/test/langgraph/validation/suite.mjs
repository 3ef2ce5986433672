// Run by vitest, for one saver: SEALPOINT_SAVER names it, SEALPOINT_SEALED=1 wraps it, SEALPOINT_DSN is where it stores.
import { deltaChannelHistoryTests, validate } from "@langchain/langgraph-checkpoint-validation";
import { fixed } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { connect } from "../keyring.mjs";
import { savers } from "./savers.mjs";

const { SEALPOINT_SAVER: name, SEALPOINT_SEALED: sealed, SEALPOINT_DSN: dsn } = process.env;
const { make, drop } = savers[name](dsn);
const keyring = await connect();
const initializer = {
  checkpointerName: name,
  createCheckpointer: async () => (sealed ? new SealedSaver(await make(), keyring, { tenant: fixed("acme") }) : make()),
  destroyCheckpointer: (saver) => drop(sealed ? saver.inner : saver),
};

validate(initializer);
deltaChannelHistoryTests(initializer);
