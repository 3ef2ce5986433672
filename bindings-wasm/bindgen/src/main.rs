//! `sealpoint-bindgen MODULE.wasm OUTDIR`: what the program `wasm-bindgen --target web --omit-default-module-path` does, without its other dependencies.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

/// A function of the generated code that has the name of an export, where it is defined and where it is called.
const HELPER: [&str; 2] = ["function decodeText(bytes)", "decodeText(getUint8ArrayMemory0()"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, out_dir] = arguments.as_slice() else {
        eprintln!("usage: sealpoint-bindgen MODULE.wasm OUTDIR");
        return ExitCode::FAILURE;
    };
    match generate(Path::new(module), Path::new(out_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealpoint-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn generate(module: &Path, out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut bindgen = Bindgen::new();
    // No `import.meta.url`: bundlers would look for the file, and CommonJS has none.
    bindgen.web(true)?.omit_default_module_path(true).typescript(true).remove_name_section(true).remove_producers_section(true);
    bindgen.input_path(module).out_name("sealpoint").generate(out_dir)?;

    let glue = out_dir.join("sealpoint.js");
    let mut text = fs::read_to_string(&glue)?;
    for place in HELPER {
        if text.matches(place).count() != 1 {
            return Err(format!("wasm-bindgen writes {place} no longer just once").into());
        }
        text = text.replace(place, &place.replace("decodeText", "decodeUtf8"));
    }
    fs::write(glue, text)?;
    Ok(())
}
