//! `sealpoint-bindgen MODULE.wasm OUTDIR`: what the program `wasm-bindgen --target web --omit-default-module-path` does, without its other dependencies.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, out_dir] = arguments.as_slice() else {
        eprintln!("usage: sealpoint-bindgen MODULE.wasm OUTDIR");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    let made = bindgen.input_path(module).out_name("sealpoint").web(true).and_then(|bindgen| {
        // No `import.meta.url`: bundlers would look for the file, and CommonJS has none.
        bindgen.omit_default_module_path(true).typescript(true).remove_name_section(true).remove_producers_section(true).generate(out_dir)
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealpoint-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
