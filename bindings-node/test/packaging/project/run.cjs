const { backend, Context, DataKey } = require("sealpoint");
const { key } = DataKey.generate({ tenant: "acme" });
const context = new Context({ tenant: "acme", purpose: "x" });
const text = key.openText(key.sealText("hello", context), context);
import("sealpoint").then((imported) => console.log(JSON.stringify({ backend, text, oneInstance: imported.Context === Context })));
