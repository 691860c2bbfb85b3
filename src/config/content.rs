//! What a configuration file holds, before it is understood.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a file: ten thousand routes take a tenth of it.
const MOST: usize = 16 * 1024 * 1024;

/// What a file holds. What has no end, as a device may, is not read on.
pub(crate) fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST).unwrap_or(u64::MAX);
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(bytes)
}

pub(super) fn text(bytes: Vec<u8>) -> io::Result<String> {
    let what = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8");
    String::from_utf8(bytes).map_err(what)
}

/// What tells one content of a file from another.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_on() {
        let error = content(Path::new("/dev/zero")).expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for (length, fits) in [(MOST, true), (MOST + 1, false)] {
            std::fs::write(&path, vec![b' '; length]).expect("room");
            assert_eq!(content(&path).is_ok(), fits);
        }
    }
}
