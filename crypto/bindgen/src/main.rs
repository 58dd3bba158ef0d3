//! Writes the JavaScript and the types around the core's wasm.
//!
//! `tidings-core-bindgen tidings_core.wasm OUT` makes OUT/tidings_core.js, .d.ts and _bg.wasm, for a
//! browser that loads them as they are.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("bindgen: error: it takes the wasm and a directory");
        return ExitCode::from(2);
    };
    match write(input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindgen: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(input: &str, output: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut bindgen = Bindgen::new();
    // Names and producers would tell how it was built, and cost bytes.
    bindgen
        .input_path(input)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true);
    Ok(bindgen.generate(output)?)
}
