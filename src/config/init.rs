//! The commented file to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::DEFAULT_FILE;

/// What `refractium init` writes. It loads as it is.
pub const STARTER: &str = include_str!("starter.toml");

/// Why no file was written.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error("there is a `{DEFAULT_FILE}` here already: it is left as it is")]
    Exists,
    /// It cannot be written.
    #[error("cannot write `{DEFAULT_FILE}`")]
    Write(#[from] io::Error),
}

/// Writes [`STARTER`] into a folder, unless there is a configuration already.
///
/// # Errors
///
/// [`InitError::Exists`], and nothing was touched; [`InitError::Write`] with what the system says.
pub fn init(folder: &Path) -> Result<(), InitError> {
    let path = folder.join(DEFAULT_FILE);
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(InitError::Exists);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(file.write_all(STARTER.as_bytes())?)
}
