//! Output of commands. If writing to standard output fails, they exit with a status instead of
//! panicking.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// Status of a command line, or a configuration, that is wrong: `EX_USAGE` of sysexits.h.
pub const EXIT_USAGE: u8 = 64;

/// Writes `text` to standard output. The status is `exit_code`, or 1 if the text could not be
/// written completely, because then the reader has not seen the result.
pub fn print(text: &str, exit_code: u8) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::from(exit_code),
        Err(error) => {
            // A reader that has closed the pipe (`| head`) needs no message.
            if error.kind() != ErrorKind::BrokenPipe {
                complain(format_args!("cannot write to standard output: {error}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error, if that can be written to.
pub fn complain(problem: impl Display) {
    let _ = writeln!(io::stderr(), "{problem}");
}
