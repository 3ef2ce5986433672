/** What `sealpoint/langgraph`, which is a bundle of its own, needs of this one: the same instances, not copies. Nobody else's. */

export { flag, isWellFormed, options, text } from "./check.js";
export { fail } from "./errors.js";
export { hide } from "./hide.js";
export { checkMode } from "./migration.js";
export { checkSource, Fixed, FromConfig, resolveTenant, returnedConfig, tenantKey } from "./tenants.js";
