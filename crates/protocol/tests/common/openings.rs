//! What real clients sent first; `openings/SOURCES.md` says which.

use std::path::PathBuf;

use refractium_protocol::RefractiumProtocol;

/// One captured opening.
pub(crate) struct Captured {
    /// Its protocol and file, such as `https/curl-default`.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Where the folders of openings are.
pub(crate) fn root() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "openings"].iter().collect()
}

/// The openings of one protocol, by name. Only a protocol that silence can mean may have none.
pub(crate) fn of(protocol: &dyn RefractiumProtocol) -> Vec<Captured> {
    let folder = root().join(protocol.name());
    if protocol.server_first() && !folder.exists() {
        return Vec::new();
    }
    let mut captured: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| Captured {
            name: format!("{}/{}", protocol.name(), path.file_stem().unwrap().display()),
            bytes: std::fs::read(&path).expect("a readable opening"),
        })
        .collect();
    assert!(!captured.is_empty(), "no openings in {}", folder.display());
    captured.sort_by(|a, b| a.name.cmp(&b.name));
    captured
}
