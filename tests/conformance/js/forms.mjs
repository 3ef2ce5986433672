/** The forms of tests/vectors/README.md, in Node and in pages. */

export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
export const toHex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const bytes = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

export function base64(data) {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode.apply(null, data.subarray(at, at + 0x8000));
  return btoa(text);
}

/** Payloads: hex, or so many bytes (31 i + 7) mod 251. */
export function payload(form) {
  return form.hex === undefined ? Uint8Array.from({ length: form.len }, (_, i) => (31 * i + 7) % 251) : fromHex(form.hex);
}

export const binary64 = (bits) => new DataView(fromHex(bits).buffer).getFloat64(0);

/**
 * A context's value: a string, a bigint, a number or a list; undefined where no string holds it. What is UTF-8 but for a surrogate, for which three bytes
 * would stand, is a string with a lone one.
 */
export function value(form) {
  const [[name, item]] = Object.entries(form);
  switch (name) {
    case "text":
    case "list":
      return item;
    case "int":
      return BigInt(item);
    case "float":
      return binary64(item);
    case "repeat":
      return item.text.repeat(item.count);
    case "utf8_hex": {
      // One of them: a pair would be one character, well-formed in UTF-16.
      if (!/^ed[ab][0-9a-f][89ab][0-9a-f]$/.test(item)) return undefined;
      const [, high, low] = fromHex(item);
      return String.fromCharCode(0xd000 | ((high & 0x3f) << 6) | (low & 0x3f));
    }
    default:
      throw new Error(`no such value form: ${name}`);
  }
}

export const sha256 = async (data) => toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", data)));
