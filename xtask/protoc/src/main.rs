//! As much of `protoc` as prost-build calls: writes a descriptor set, in pure Rust.

use std::{env, fs};

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (mut includes, mut files) = (Vec::new(), Vec::new());
    let mut output = None;
    let (mut imports, mut source_info) = (false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} of what?"))
        };
        match argument.as_str() {
            "-I" => includes.push(value()?),
            "-o" => output = Some(value()?),
            "--include_imports" => imports = true,
            "--include_source_info" => source_info = true,
            option if option.starts_with('-') => {
                bail!("{option} is not known here; install the real protoc, or name it in PROTOC")
            }
            _ => files.push(argument),
        }
    }
    let mut compiler = protox::Compiler::new(includes)?;
    compiler
        .include_imports(imports)
        .include_source_info(source_info)
        .open_files(files)?;
    let output = output.context("-o is missing")?;
    fs::write(&output, compiler.encode_file_descriptor_set()).context(output)
}
