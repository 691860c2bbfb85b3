//! `[server]`: what was typed, what the file says, or the default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::admin::AdminConfig;
use super::file::File;
use super::keys::NUMBERS;
use super::mistake::Mistakes;
use super::{Known, Origin, Overrides, Setting};
use crate::endpoint::Endpoint;
use crate::limits::{Limits, ZeroCopy};
use crate::log::Connections;
use crate::network::Network;

const DEFAULT_BIND: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const DEFAULT_PORT: u16 = 8080;

/// The settings of the engine as a whole.
pub(super) struct Server {
    pub(super) limits: Limits,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) workers: usize,
    pub(super) hot_reload: bool,
    pub(super) proxy_protocol_from: Vec<Network>,
    pub(super) connections: Connections,
    pub(super) admin: AdminConfig,
    pub(super) settings: Vec<Setting>,
    pub(super) fallback_tcp: Option<Endpoint>,
    pub(super) fallback_udp: Option<Endpoint>,
}

impl Server {
    pub(super) fn new(typed: &Overrides, file: &File, mistakes: &Mistakes) -> Self {
        let mut settings = Settings { list: Vec::new(), mistakes };
        let typed_bind = Some(&typed.bind).filter(|bind| !bind.is_empty()).cloned();
        let bind = settings.choose("bind", typed_bind.map(|it| ("--bind", it)), &file.bind);
        let bind = settings.or_default(bind, vec![DEFAULT_BIND], |bind| match bind.as_slice() {
            [one] => format!("\"{one}\""),
            many => format!("{:?}", many.iter().map(ToString::to_string).collect::<Vec<_>>()),
        });
        let port = settings.choose("port", typed.port.map(|it| ("--port", it)), &file.port);
        let port = settings.or_default(port, DEFAULT_PORT, ToString::to_string);
        let mut limits = Limits::default();
        for (at, number) in NUMBERS.iter().enumerate() {
            let said = file.numbers.iter().find(|(which, _)| *which == at).map(|(_, known)| known);
            let value = settings.choose(number.name, None, &said.cloned());
            let value = settings.or_default(value, (number.get)(&limits), |it| number.text(*it));
            (number.set)(&mut limits, value);
        }
        let zero_copy = settings.choose("zero_copy", None, &file.zero_copy);
        limits.zero_copy = settings.or_default(zero_copy, limits.zero_copy, |it| match it {
            ZeroCopy::Auto => "\"auto\"".to_owned(),
            ZeroCopy::Off => "\"off\"".to_owned(),
        });
        let workers = settings.choose("workers", None, &file.workers);
        let workers = settings.or_default(workers, 0, ToString::to_string);
        let hot_reload = settings.choose("hot_reload", None, &file.hot_reload);
        let hot_reload = settings.or_default(hot_reload, true, ToString::to_string);
        let mut fallback = |name, said| {
            let chosen = settings.choose(name, None, said);
            let (name, chosen, origin) = chosen;
            let text = |it: &Option<Endpoint>| match it {
                Some(endpoint) => format!("\"{endpoint}\""),
                None => "unset".to_owned(),
            };
            settings.or_default((name, chosen.map(Some), origin), None, text)
        };
        let fallback_tcp = fallback("fallback_tcp", &file.fallback_tcp);
        let fallback_udp = fallback("fallback_udp", &file.fallback_udp);
        let name = "proxy_protocol_from";
        let trusted = settings.choose(name, None, &file.proxy_protocol_from);
        let proxy_protocol_from = settings.or_default(trusted, Vec::new(), |list| {
            format!("{:?}", list.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        let connections = settings.choose("log.connections", None, &file.connections);
        let connections =
            settings.or_default(connections, Connections::Off, |it| format!("\"{it}\""));
        let admin = admin(&mut settings, file);
        let addresses = bind.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let settings = settings.list;
        Self {
            limits,
            addresses,
            workers,
            hot_reload,
            proxy_protocol_from,
            connections,
            admin,
            settings,
            fallback_tcp,
            fallback_udp,
        }
    }
}

fn admin(settings: &mut Settings<'_>, file: &File) -> AdminConfig {
    let listen = settings.choose("admin.listen", None, &file.admin_listen);
    let listen = settings.or_default(listen, Vec::new(), |it| match it.as_slice() {
        [] => "off".to_owned(),
        [one] => format!("\"{one}\""),
        many => format!("{:?}", many.iter().map(ToString::to_string).collect::<Vec<_>>()),
    });
    let hosts = settings.choose("admin.hosts", None, &file.admin_hosts);
    let hosts = settings.or_default(hosts, Vec::new(), |it| {
        format!("{:?}", it.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    AdminConfig { listen, hosts }
}

/// The settings said so far.
struct Settings<'m> {
    list: Vec<Setting>,
    mistakes: &'m Mistakes,
}

/// A setting's name, what somebody said, and who.
type Chosen<T> = (&'static str, Option<T>, Origin);

impl Settings<'_> {
    fn choose<T: Clone>(
        &self,
        name: &'static str,
        typed: Option<(&'static str, T)>,
        file: &Option<Known<T>>,
    ) -> Chosen<T> {
        match (typed, file) {
            (Some((option, value)), _) => (name, Some(value), Origin::Typed(option)),
            (None, Some(known)) => {
                (name, Some(known.value.clone()), self.mistakes.origin(&known.place))
            }
            (None, None) => (name, None, Origin::Default),
        }
    }

    fn or_default<T>(
        &mut self,
        (name, said, origin): Chosen<T>,
        default: T,
        text: impl Fn(&T) -> String,
    ) -> T {
        let value = said.unwrap_or(default);
        self.list.push(Setting { name, value: text(&value), origin });
        value
    }
}
