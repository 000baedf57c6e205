//! How many files and connections the kernel lets the process have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, as programs in Go do: the soft one is low for the sake of
/// programs that use `select`.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(from = ?current, to = ?maximum, "raised the limit of open files");
        }
        Err(error) => tracing::warn!(
            %error,
            limit = ?current,
            "the limit of open files and connections cannot be raised"
        ),
    }
}
