//! One binary for all targets: with the feature `libfuzzer` it fuzzes the one that
//! `FUZZ_TARGET` names; without, it keeps inputs and runs them one at a time.
//!
//! ```text
//! fuzz list                  the targets
//! fuzz unpack DIR            writes seeds and kept inputs as files for libFuzzer
//! fuzz pack DIR              keeps what is there
//! fuzz run TARGET FILE..     runs inputs
//! fuzz hex FILE              an input as a line for found/TARGET.hex
//! ```

#![cfg_attr(feature = "libfuzzer", no_main)]

use std::path::Path;

fn tool(arguments: &[&str]) -> Result<(), String> {
    let told = |result: std::io::Result<()>| result.map_err(|error| error.to_string());
    match arguments {
        ["list"] => {
            fuzz::all().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["unpack", dir] => told(fuzz::unpack(Path::new(dir))),
        ["pack", dir] => told(fuzz::pack(Path::new(dir))),
        ["run", target, files @ ..] => {
            let target = fuzz::find(target).ok_or("there is no such target")?;
            target.warm_up();
            for file in files {
                target.check(&std::fs::read(file).map_err(|error| error.to_string())?);
            }
            Ok(())
        }
        ["hex", file] => {
            let input = std::fs::read(file).map_err(|error| error.to_string())?;
            println!("{}", fuzz::hex(&input));
            Ok(())
        }
        _ => Err("fuzz list | unpack DIR | pack DIR | run TARGET FILE.. | hex FILE".to_owned()),
    }
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match tool(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "libfuzzer")]
mod fuzzing {
    #![allow(unsafe_code, missing_docs, reason = "libFuzzer calls functions by their C names")]

    use std::sync::OnceLock;

    static TARGET: OnceLock<&'static fuzz::Target> = OnceLock::new();

    unsafe extern "C" {
        fn atexit(function: extern "C" fn()) -> i32;
    }

    extern "C" fn say_totals() {
        let (inputs, bytes) = fuzz::totals();
        eprintln!("stat::inputs_and_bytes: {inputs} {bytes}");
    }

    fn begin() {
        // What needs no fuzzer is done and over before there is one.
        if let Ok(command) = std::env::var("FUZZ_TOOL") {
            let said = super::tool(&command.split(' ').collect::<Vec<_>>());
            if let Err(error) = &said {
                eprintln!("{error}");
            }
            std::process::exit(said.is_err().into());
        }
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        let target = fuzz::find(&name).expect("FUZZ_TARGET is one of `fuzz list`");
        target.warm_up();
        let _ = TARGET.set(target);
        // SAFETY: the function takes nothing and lives as long as the program.
        unsafe { atexit(say_totals) };
    }

    libfuzzer_sys::fuzz_target!(init: begin(), |input: &[u8]| {
        TARGET.get().expect("begin was called").check(input);
    });
}
