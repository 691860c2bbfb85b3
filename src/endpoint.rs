//! A checked `host:port`, or the name of SRV records.

#[cfg_attr(not(feature = "srv"), path = "endpoint/no_srv.rs")]
mod srv;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use refractium_protocol::dns_name;

/// Where a backend listens: an address or a name, and a port; or `srv+` and the name of SRV records (RFC 2782, feature
/// `srv`), which say all that.
///
/// ```
/// use refractium::Endpoint;
///
/// let endpoint: Endpoint = "[::1]:8443".parse()?;
/// assert_eq!(endpoint.to_string(), "[::1]:8443");
/// assert!("localhost".parse::<Endpoint>().is_err()); // no port
/// # Ok::<(), refractium::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: EndpointHost,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum EndpointHost {
    Address(IpAddr),
    Name(Box<str>),
    /// The name of SRV records; the port is 0 then.
    Srv(Box<str>),
}

/// Why a text is no [`Endpoint`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no `:port` at the end.
    #[error("a port is missing: write HOST:PORT")]
    NoPort,
    /// What stands behind the last colon is no port.
    #[error("`{0}` is no port from 1 to 65535")]
    Port(String),
    /// An IPv6 address needs brackets to be told from its port.
    #[error("an IPv6 address stands in brackets: write [ADDRESS]:PORT")]
    Brackets,
    /// What stands before the port is neither an address nor a name.
    #[error("`{0}` is neither an IP address nor a host name")]
    Host(String),
    /// SRV records say what port it is.
    #[error("SRV records give the port: write srv+NAME without one")]
    SrvPort,
    /// This build looks up no SRV records.
    #[error("SRV records need a build with the feature `srv`")]
    NoSrv,
}

impl Endpoint {
    /// The host name to be resolved; `None` for an address and for SRV records.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            EndpointHost::Name(name) => Some(name),
            EndpointHost::Address(_) | EndpointHost::Srv(_) => None,
        }
    }

    /// The name whose SRV records say where the backends are; `None` for an address and for a host name.
    pub fn srv(&self) -> Option<&str> {
        match &self.host {
            EndpointHost::Srv(name) => Some(name),
            EndpointHost::Address(_) | EndpointHost::Name(_) => None,
        }
    }

    /// The address; `None` if something is to be looked up first.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            EndpointHost::Address(ip) => Some(SocketAddr::new(ip, self.port)),
            EndpointHost::Name(_) | EndpointHost::Srv(_) => None,
        }
    }

    /// The port; 0 where SRV records give it.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: EndpointHost::Address(address.ip()), port: address.port() }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(EndpointError::Brackets);
        }
        if let Some(name) = text.strip_prefix(SRV) {
            return Ok(Self { host: EndpointHost::Srv(srv::name(name)?.into()), port: 0 });
        }
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        if port.ends_with(']') {
            return Err(EndpointError::NoPort);
        }
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => number,
            _ => return Err(EndpointError::Port(port.to_owned())),
        };
        Ok(Self { host: endpoint_host(host)?, port })
    }
}

/// What stands before the name of SRV records.
const SRV: &str = "srv+";

fn endpoint_host(text: &str) -> Result<EndpointHost, EndpointError> {
    let wrong = || EndpointError::Host(text.to_owned());
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().map(|ip| EndpointHost::Address(IpAddr::V6(ip))).map_err(|_| wrong());
    }
    if let Ok(ip) = text.parse::<std::net::Ipv4Addr>() {
        return Ok(EndpointHost::Address(IpAddr::V4(ip)));
    }
    // What else has colons is taken for an IPv6 address, but no URL and no list.
    if text.contains(':') && !text.contains(['/', ',']) {
        return Err(EndpointError::Brackets);
    }
    // Only digits and dots: a mistyped address, which a resolver would read in surprising ways.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric || dns_name(text.as_bytes()).is_none() {
        return Err(wrong());
    }
    Ok(EndpointHost::Name(text.to_ascii_lowercase().into()))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            EndpointHost::Address(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            EndpointHost::Name(name) => write!(f, "{name}:{}", self.port),
            EndpointHost::Srv(name) => write!(f, "{SRV}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_endpoints_keep_their_text() {
        for text in ["127.0.0.1:80", "[::1]:443", "localhost:22", "db-1.internal_x:5432"] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn bad_endpoints_say_why() {
        for (text, error) in [
            ("localhost", EndpointError::NoPort),
            ("[::1]", EndpointError::NoPort),
            ("", EndpointError::NoPort),
            ("a:0", EndpointError::Port("0".into())),
            ("a:65536", EndpointError::Port("65536".into())),
            ("a:+80", EndpointError::Port("+80".into())),
            ("a:http", EndpointError::Port("http".into())),
            ("::1", EndpointError::Brackets),
            ("fe80::1:2:x:80", EndpointError::Brackets),
            (":80", EndpointError::Host(String::new())),
            ("1.2.3:80", EndpointError::Host("1.2.3".into())),
            ("256.0.0.1:80", EndpointError::Host("256.0.0.1".into())),
            ("a b:80", EndpointError::Host("a b".into())),
            ("http://a:80", EndpointError::Host("http://a".into())),
            ("1.2.3.4:1,1.2.3.4:2", EndpointError::Host("1.2.3.4:1,1.2.3.4".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
