// A process that does a job on a key store and is killed when it sends a given statement, or (as "page:N") when it reports its N-th page: `node killed.mjs WHEN URL VERB ARGUMENTS…`.
// Pages are of three keys, so that there are many points to be killed at. Not a test.
import assert from "node:assert/strict";
import Database from "better-sqlite3";
import pg from "pg";
import { Keyring } from "sealpoint";
import { paged, storeOf } from "./lifecycle-support.mjs";

const [when, url, verb, ...given] = process.argv.slice(2);
const [statement, page] = when.startsWith("page:") ? [-1, Number(when.slice(5))] : [Number(when), -1];
let [statements, pages] = [0, 0];

/** What comes before this has been sent; nothing after it ever is. */
function die() {
  process.kill(process.pid, "SIGKILL");
}

function sent() {
  if (statements === statement) die();
  statements += 1;
}

function progress() {
  if (pages === page) die();
  pages += 1;
}

const keyring = await Keyring.connect(paged(storeOf(url), 3), { kek: ["env:SEALPOINT_KEK", "env:OTHER_KEK"] });
const { prepare, exec } = Database.prototype;
Database.prototype.prepare = function prepared(...sql) {
  sent();
  return watched(prepare.apply(this, sql));
};
Database.prototype.exec = function executed(...sql) {
  sent();
  return exec.apply(this, sql);
};
const query = pg.Client.prototype.query;
pg.Client.prototype.query = function queried(...sql) {
  sent();
  return query.apply(this, sql);
};

/** A statement is prepared once and run often. */
function watched(made) {
  const { run } = made;
  made.run = (...values) => {
    sent();
    return run.apply(made, values);
  };
  return made;
}

if (verb === "rotate") assert.equal((await keyring.rotateAll({ madeBefore: new Date(given[0]), progress })).failed, 0);
else if (verb === "rewrap") assert.ok((await keyring.rewrap(...given, { progress })).complete);
else if (verb === "shred") await keyring.shred(given[0], { confirm: given[0] });
else throw new Error(`no verb ${verb}`);
process.exit(0);
