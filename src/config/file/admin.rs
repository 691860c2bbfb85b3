//! `[admin]`.

use toml::de::DeTable;

use super::{File, Reader, Value};
use crate::config::Known;

impl Reader<'_> {
    pub(super) fn admin(&mut self, admin: &DeTable<'_>, file: &mut File) {
        for (key, value) in admin {
            match key.get_ref().as_ref() {
                "listen" => {
                    let what = "an address and a port such as \"127.0.0.1:9090\"";
                    file.admin_listen = Some(self.values(value, what));
                }
                "hosts" => {
                    let what = "a host name such as \"admin.example\"";
                    file.admin_hosts = Some(self.values(value, what));
                }
                word => self.unknown_key(word, key.span(), &["listen", "hosts"]),
            }
        }
    }

    /// One value or a list, as one value.
    fn values<T: std::str::FromStr<Err: ToString>>(
        &mut self,
        value: &Value<'_>,
        what: &str,
    ) -> Known<Vec<T>> {
        let list = self.list(value, what).into_iter().map(|known| known.value);
        let list = list.collect();
        self.known(list, value.span())
    }
}
