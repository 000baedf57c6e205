//! Heap profiles, by jemalloc.
//!
//! Its profiler must be there from the first allocation, so it is compiled in and configured as present
//! but inactive (`prof:true,prof_active:false`, `.cargo/config.toml`): it then takes no samples, and
//! unwinds no stack.

use std::env;
use std::path::{Path, PathBuf};

use distributor::HeapProfiler;
use jemalloc_pprof::PROF_CTL;

/// Writable where the root is not.
const SHARED_MEMORY: &str = "/dev/shm";

/// The allocator of this program.
pub(crate) struct Jemalloc;

impl HeapProfiler for Jemalloc {
    fn begin(&self) -> Result<(), String> {
        let control = PROF_CTL.as_ref().ok_or_else(absent)?;
        // Nothing else holds it: it is called once, before there is a profile.
        let mut control = control.try_lock().map_err(|error| error.to_string())?;
        let begun = control.activate();
        begun.map_err(|error| format!("jemalloc: {error}"))
    }

    fn profile(&self) -> Result<Vec<u8>, String> {
        let control = PROF_CTL.as_ref().ok_or_else(absent)?;
        let folder = temporary_folder()?;
        // Only the first call counts.
        let _ = tempfile::env::override_temp_dir(&folder);
        let dumped = control.blocking_lock().dump_pprof();
        dumped.map_err(|error| format!("jemalloc: {error:#}"))
    }
}

fn absent() -> String {
    "this binary was built without jemalloc's profiler: build it in its repository, whose \
     .cargo/config.toml asks for it, or start it with _RJEM_MALLOC_CONF=prof:true,prof_active:false"
        .to_owned()
}

/// Where jemalloc can write its dump, which is read and removed at once.
fn temporary_folder() -> Result<PathBuf, String> {
    let usual = env::temp_dir();
    let is_writable = |folder: &Path| tempfile::tempfile_in(folder).map(drop);
    match is_writable(&usual) {
        Ok(()) => Ok(usual),
        Err(_) if is_writable(Path::new(SHARED_MEMORY)).is_ok() => Ok(SHARED_MEMORY.into()),
        Err(error) => Err(format!(
            "a heap profile needs a temporary file, and {} takes none ({error}); set TMPDIR to a \
             writable folder",
            usual.display()
        )),
    }
}
