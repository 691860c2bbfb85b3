//! Any text as `refractium.toml`: it is read, or its mistakes are shown; neither panics.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use refractium::config::{Overrides, parse};

fuzz_target!(|text: &str| {
    match parse(Some((Path::new("refractium.toml"), text)), &Overrides::default()) {
        Ok(config) => drop(format!("{config:?}")),
        Err(mistakes) => assert!(mistakes.to_string().contains("error")),
    }
});
