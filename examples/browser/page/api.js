/** The server's answers. What it refuses becomes an `Error` with a `code`: one of sealpoint's, or `http_401` and the like. */

export async function sendJson(method, path, value) {
  const response = await ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
  return response.json();
}

export async function sendBytes(path, bytes, signal) {
  const response = await ask(path, { method: "PUT", headers: { "Content-Type": "application/octet-stream" }, body: bytes, signal });
  return response.json();
}

export async function getJson(path) {
  return (await ask(path)).json();
}

export async function getBytes(path, signal) {
  return new Uint8Array(await (await ask(path, { signal })).arrayBuffer());
}

/** By POST: it is nothing that a link, an image or a cache may fetch. */
export async function postForText(path) {
  return (await ask(path, { method: "POST" })).text();
}

async function ask(path, options = {}) {
  const response = await fetch(path, { cache: "no-store", redirect: "error", ...options });
  if (response.ok) return response;
  const isJson = response.headers.get("Content-Type") === "application/json";
  const { code, message } = isJson ? await response.json() : { code: `http_${response.status}`, message: await response.text() };
  throw Object.assign(new Error(message), { code });
}
