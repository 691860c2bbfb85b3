//! `[log]`.

use toml::de::DeTable;

use super::{File, Reader};
use crate::log::Connections;

impl Reader<'_> {
    pub(super) fn log(&mut self, log: &DeTable<'_>, file: &mut File) {
        for (key, value) in log {
            match key.get_ref().as_ref() {
                "connections" => file.connections = self.choice(value, &Connections::WORDS),
                word => self.unknown_key(word, key.span(), &["connections"]),
            }
        }
    }
}
