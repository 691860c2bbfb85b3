//! What a test needs of the machine, and what is said where it is missing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

/// Where a program is: on the path, or where daemons are.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(daemons);
    folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()))
}

/// Whether all these programs are here. If not, says that the test is skipped.
pub(crate) fn need(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| installed(program).is_none());
    missing.is_none_or(|program| skipped(&format!("{program} is not installed")))
}

/// Whether the tests run as root. If not, says that the test is skipped.
pub(crate) fn need_root() -> bool {
    is_root() || skipped("not run as root")
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").expect("proc").uid() == 0
}

/// Says why a test is skipped, also to the file that `scripts/test` counts the lines of.
pub(crate) fn skipped(reason: &str) -> bool {
    let line = format!("{}: {reason}\n", thread::current().name().unwrap_or("a test"));
    print!("skipped: {line}");
    if let Some(path) = std::env::var_os("REFRACTIUM_SKIPPED") {
        let mut file = fs::File::options().create(true).append(true).open(path).expect("a file");
        file.write_all(line.as_bytes()).expect("room");
    }
    false
}
