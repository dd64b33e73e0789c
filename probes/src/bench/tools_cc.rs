//! A small C project whose program prints a number that is known beforehand.

use std::{fmt::Write, fs, io, path::Path};

/// Files beside the main one, and functions in each.
const FILES: u32 = 12;
const FUNCTIONS: u32 = 60;

/// Writes the project's sources.
pub(super) fn write(dir: &Path) -> io::Result<()> {
    for file in 0..FILES {
        let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for n in 0..FUNCTIONS {
            let add = add(file, n);
            // Loops and a copy, so that the optimizer has something to do; no undefined behaviour.
            let code = format!(
                "static unsigned f{n}(unsigned x) {{\n\
                 \tunsigned a[8], b[8], i;\n\
                 \tfor (i = 0; i < 8; i++) a[i] = (x ^ (x << {left})) + i * {add}u;\n\
                 \tmemcpy(b, a, sizeof a);\n\
                 \tfor (i = 0, x = 0; i < 8; i++) x = x * 31u + (b[i] ^ (b[7 - i] >> {right}));\n\
                 \treturn x;\n}}\n",
                left = 1 + n % 13,
                right = 1 + n % 17,
            );
            text.push_str(&code);
        }
        writeln!(text, "unsigned file{file}(unsigned x) {{").map_err(io::Error::other)?;
        for n in 0..FUNCTIONS {
            writeln!(text, "\tx = f{n}(x);").map_err(io::Error::other)?;
        }
        text.push_str("\treturn x;\n}\n");
        fs::write(dir.join(format!("file{file}.c")), text)?;
    }
    let mut main = String::from("#include <stdio.h>\n");
    for file in 0..FILES {
        writeln!(main, "unsigned file{file}(unsigned x);").map_err(io::Error::other)?;
    }
    main.push_str("int main(void) {\n\tunsigned x = 1;\n");
    for file in 0..FILES {
        writeln!(main, "\tx = file{file}(x);").map_err(io::Error::other)?;
    }
    main.push_str("\tprintf(\"%u\\n\", x);\n\treturn 0;\n}\n");
    fs::write(dir.join("main.c"), main)
}

/// Arguments of the compiler.
pub(super) fn args() -> Vec<String> {
    let files = (0..FILES).map(|n| format!("file{n}.c"));
    ["-O1", "-o", "app", "main.c"].map(str::to_owned).into_iter().chain(files).collect()
}

/// What the program prints.
pub(super) fn expected() -> String {
    let mut x: u32 = 1;
    for file in 0..FILES {
        for n in 0..FUNCTIONS {
            let a: Vec<u32> =
                (0..8).map(|i: u32| (x ^ (x << (1 + n % 13))).wrapping_add(i.wrapping_mul(add(file, n)))).collect();
            x = (0..8).fold(0, |x: u32, i| x.wrapping_mul(31).wrapping_add(a[i] ^ (a[7 - i] >> (1 + n % 17))));
        }
    }
    x.to_string()
}

fn add(file: u32, n: u32) -> u32 {
    (file * FUNCTIONS + n).wrapping_mul(2_654_435_761)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_program_prints_what_is_expected() {
        let dir = std::env::temp_dir().join(format!("awf-probe-cc-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        write(&dir).expect("written");
        let built = std::process::Command::new("cc").args(args()).current_dir(&dir).output();
        let built = built.expect("the linker of every Rust toolchain here is cc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let out = std::process::Command::new(dir.join("app")).output().expect("it runs");
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), expected());
    }
}
