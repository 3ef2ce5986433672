/** Items of a store (SPEC section 7.3), put together and taken apart with the package's public functions, as an adapter does. */

const MARK = "sealpoint";
const looksSealed = (value) => typeof value === "string" && /^sealpoint[:-]/.test(value);

function refuse(code, message) {
  throw Object.assign(new Error(message), { code, retryable: false });
}

/** Strict: well-formed UTF-8 without a byte order mark. Duplicate keys, which `JSON.parse` takes, no vector holds. */
function json(bytes) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return refuse("malformed", "no JSON of an item");
  }
}

function places(api, { tenant, ns, item }) {
  const field = new api.Context({ tenant, purpose: "langgraph.store.field", ns, key: item });
  return {
    item: new api.Context({ tenant, purpose: "langgraph.store", ns, key: item }),
    field: (name) => field.extend({ path: `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}` }),
  };
}

function openJson(key, sealed, context) {
  const { contentType, payload } = key.openTyped(sealed, context);
  return contentType === "json" ? payload : refuse("malformed", "no JSON");
}

export function openItem(api, key, vector, stored) {
  const at = places(api, vector);
  if (typeof stored[MARK] !== "string") refuse("plaintext_refused", "no envelope");
  const whole = openJson(key, stored[MARK], at.item);
  const others = Object.entries(stored).filter(([name]) => name !== MARK);
  const apart = others.filter(([, value]) => looksSealed(value));
  const clear = others.filter(([, value]) => !looksSealed(value));
  const { metadata } = api.manifestOpen(whole, [Object.fromEntries(clear)], { parent: null, channels: apart });
  const opened = apart.map(([name, sealed]) => [name, json(openJson(key, sealed, at.field(name)))]);
  const rest = json(metadata);
  if (rest === null || typeof rest !== "object" || Array.isArray(rest)) refuse("malformed", "the rest is no object");
  if (Object.keys(rest).some((name) => Object.hasOwn(stored, name) && name !== MARK)) refuse("malformed", "a field twice");
  return Object.fromEntries([...clear, ...opened, ...Object.entries(rest)]);
}

export function sealItem(api, key, vector) {
  const at = places(api, vector);
  const seal = (payload, context) => key.sealText(payload, context, { contentType: "json" });
  const apart = Object.entries(vector.apart).map(([name, payload]) => [name, seal(payload, at.field(name))]);
  const metadata = new TextEncoder().encode(vector.rest);
  const whole = api.manifestPayload([vector.clear], { parent: null, exact: true, channels: apart, metadata });
  return Object.fromEntries([...Object.entries(vector.clear), ...apart, [MARK, seal(whole, at.item)]]);
}
