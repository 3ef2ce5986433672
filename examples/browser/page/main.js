/** The page: a login, and behind it what the tenant's client key opens and seals. */

import { postForText } from "./api.js";
import { Session } from "./session.js";
import { addTask } from "./task.js";
import { explain, make, sha256, show, stamp } from "./view.js";

const login = document.getElementById("login");
const workspace = document.getElementById("workspace");
const [form, answer] = [login.querySelector("form"), login.querySelector(".answer")];
let session;

form.querySelector("button").disabled = false;
show(answer, "");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  form.querySelector("button").disabled = true;
  show(answer, "");
  try {
    session = await Session.begin(new FormData(form).get("user"));
    showWorkspace(session, await session.records());
  } catch (error) {
    forget(explain(error));
  }
  form.querySelector("button").disabled = false;
});
addEventListener("pagehide", () => forget());

/** Wipes the key and takes everything that it opened off the page. Strings stay in the browser's memory until it reuses that: JavaScript cannot wipe them. */
function forget(why = "") {
  session?.end();
  session = undefined;
  workspace.replaceChildren();
  login.hidden = false;
  show(answer, why, why !== "");
}

function showWorkspace(session, { fields, intruders }) {
  const content = document.getElementById("workspace-template").content.cloneNode(true);
  const part = (name) => content.querySelector(`[data-id=${name}]`);
  const who = part("who");
  who.textContent = `${session.user} of ${session.tenant}`;
  part("key").textContent = `${session.keyName}, in memory only`;
  part("logout").addEventListener("click", () => logOut());
  showFields(part("fields"), session, fields);
  showIntruders(part("intruders"), session, intruders);
  addLog(part("log"), session);
  addUpload(part("upload"), part("file"), session);
  login.hidden = true;
  workspace.replaceChildren(content);
  who.focus();
}

async function logOut() {
  forget();
  document.getElementById("login-title").focus();
  try {
    await postForText("/api/logout");
  } catch (error) {
    show(answer, `The key is gone from this page, but the server still knows the session. ${explain(error)}`, true);
  }
}

function showFields(place, session, fields) {
  for (const [document, group] of Map.groupBy(fields, (field) => field.document)) {
    place.append(make("h3", document), ...group.map((field) => fieldForm(session, field)));
  }
}

function fieldForm(session, field) {
  const form = stamp("field-template");
  const [path, value, sealed, answer] = [".path", "textarea", ".sealed", ".answer"].map((name) => form.querySelector(name));
  form.ariaLabel = `${field.document} ${field.path}`;
  path.textContent = field.path;
  sealed.textContent = field.sealed;
  try {
    value.value = session.openField(field);
  } catch (error) {
    value.disabled = true;
    show(answer, explain(error), true);
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const changed = session.sealField(field, value.value);
      const read = await session.sendField(field, changed);
      sealed.textContent = changed;
      show(answer, `Python read: ${read}`);
    } catch (error) {
      show(answer, explain(error), true);
    }
  });
  return form;
}

function showIntruders(place, session, intruders) {
  for (const intruder of intruders) {
    const row = make("tr", "");
    row.append(make("td", intruder.what), verdict(session, intruder));
    place.append(row);
  }
}

function verdict(session, intruder) {
  try {
    return make("td", `opened: ${session.openField(intruder)}`, { className: "bad" });
  } catch (error) {
    const cell = make("td", "refused, ");
    cell.append(make("code", error.code));
    return cell;
  }
}

function addLog(place, session) {
  addTask(place, "Fetch and open", session.signal, async ({ begin, onProgress, signal }) => {
    begin("Fetching");
    const sealed = await session.fetchLog(signal);
    begin("Opening");
    const opened = await session.openLog(sealed, { onProgress, signal });
    const [header] = new TextDecoder().decode(opened.subarray(0, 200)).split("\n");
    return `${opened.length} bytes, SHA-256 ${await sha256(opened)}; the first line: ${header}`;
  });
}

function addUpload(place, input, session) {
  addTask(place, "Seal and upload", session.signal, async ({ begin, onProgress, signal }) => {
    const [file] = input.files;
    if (file === undefined) throw Object.assign(new Error("choose a file first"), { code: "invalid_argument" });
    begin("Reading");
    const bytes = new Uint8Array(await file.arrayBuffer());
    begin("Sealing");
    const sealed = await session.sealUpload(bytes, { onProgress, signal });
    if (sealed.length > session.maxUpload) throw Object.assign(new Error(`the server takes ${session.maxUpload} bytes`), { code: "limit_exceeded" });
    begin("Sending");
    const read = await session.sendUpload(sealed, signal);
    onProgress(1, 1);
    const same = read.bytes === bytes.length && read.sha256 === (await sha256(bytes));
    if (!same) throw Object.assign(new Error("Python read something else"), { code: "internal" });
    return `Python read the same ${read.bytes} bytes, SHA-256 ${read.sha256}`;
  });
}
