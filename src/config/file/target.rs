//! What `forward_to` may say of one backend.

use toml::de::{DeTable, DeValue};

use super::super::Known;
use super::super::keys::TARGET;
use super::{ENDPOINT, Reader, Value};
use crate::endpoint::Endpoint;
use crate::target::Target;

impl Reader<'_> {
    /// Addresses, tables that say more of one, or both in one list.
    pub(super) fn targets(&mut self, value: &Value<'_>) -> Vec<Known<Target>> {
        let mut targets = Vec::new();
        for item in self.items(value) {
            match item.get_ref() {
                DeValue::Table(table) => targets.extend(self.target(table, item)),
                _ => targets.extend(self.address(item)),
            }
        }
        targets
    }

    fn address(&mut self, value: &Value<'_>) -> Option<Known<Target>> {
        let Known { value, place } = self.parsed::<Endpoint>(value, ENDPOINT)?;
        Some(Known { value: Target::from(value), place })
    }

    fn target(&mut self, table: &DeTable<'_>, whole: &Value<'_>) -> Option<Known<Target>> {
        let before = self.said;
        let address = table.iter().find(|(key, _)| key.get_ref() == "address");
        let mut target = address.and_then(|(_, value)| self.address(value));
        let mut said = Target::from(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "address" => {}
                "weight" => {
                    let weight = self.integer(value, 1..=u64::from(Target::MOST_WEIGHT));
                    said.weight = weight.and_then(|it| u16::try_from(it).ok()).unwrap_or(1);
                }
                "backup" => said.backup = self.boolean(value).is_some_and(|known| known.value),
                "max_connections" => {
                    let most = self.integer(value, 0..=MOST_CONNECTIONS);
                    said.max_connections =
                        most.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
                }
                word => self.unknown_key(word, key.span(), TARGET),
            }
            let is_srv = || target.as_ref().is_some_and(|it| it.value.endpoint.srv().is_some());
            if key.get_ref() == "weight" && is_srv() {
                let message = "SRV records say themselves what each target weighs".to_owned();
                self.mistake(key.span(), message, None);
            }
        }
        // What was misspelt has been said.
        if address.is_none() && self.said == before {
            self.mistake(whole.span(), "a backend needs `address`".to_owned(), None);
        }
        if let Some(Known { value, .. }) = &mut target {
            let endpoint = value.endpoint.clone();
            *value = Target { endpoint, ..said };
        }
        target
    }
}

const MOST_CONNECTIONS: u64 = 10_000_000;
