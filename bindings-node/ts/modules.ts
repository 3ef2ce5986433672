/** Nothing at run time: both Rust modules, as their own tools declare them, are the one interface. `tsc` says so. */

import type * as native from "../build/native/native.js";
import type * as wasm from "../build/wasm/sealpoint.js";
import type { Core } from "./core.js";

type Is<Module extends Core> = Module;

export type Native = Is<typeof native>;
export type Wasm = Is<typeof wasm>;
