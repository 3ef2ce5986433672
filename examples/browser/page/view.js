/** Small things that the page is made of. Text only ever becomes text: nothing here makes HTML of it. */

/** A copy of a template's content, whose single element is returned. */
export function stamp(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

export function make(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...properties });
}

/** Says it in a live region. */
export function show(answer, text, bad = false) {
  answer.textContent = text;
  answer.classList.toggle("bad", bad);
}

/** The code is what a program goes by, the message is for people. */
export function explain(error) {
  return `${error.code ?? error.name}: ${error.message}`;
}

export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
