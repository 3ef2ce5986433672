/** Nothing at run time: both Rust modules, as their own tools declare them, are the one interface, which the native one extends. `tsc` says so. */

import type * as native from "../build/native/native.js";
import type * as wasm from "../build/wasm/sealpoint.js";
import type { Core, NativeCore } from "./core.js";

type Is<Contract, Module extends Contract> = Module;

export type Native = Is<NativeCore, typeof native>;
export type Wasm = Is<Core, typeof wasm>;
