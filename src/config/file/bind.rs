//! `bind`.

use std::net::IpAddr;

use super::{Reader, Value};
use crate::config::{Known, collision};

impl Reader<'_> {
    pub(super) fn bind(&mut self, value: &Value<'_>) -> Known<Vec<IpAddr>> {
        let list = self.list(value, "an IP address such as \"0.0.0.0\" or \"::\"");
        collision::of_bind(&list, |place, message, help| {
            self.mistake(place.span.clone(), message, help);
        });
        self.known(list.into_iter().map(|known| known.value).collect(), value.span())
    }
}
