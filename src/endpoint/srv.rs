//! Names of SRV records.

use refractium_protocol::dns_name;

use super::EndpointError;

/// What stands behind `srv+`, as it is looked up.
pub(super) fn name(text: &str) -> Result<String, EndpointError> {
    if dns_name(text.as_bytes()).is_some() {
        return Ok(text.to_ascii_lowercase());
    }
    Err(if text.contains(':') { EndpointError::SrvPort } else { EndpointError::Host(text.into()) })
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;

    #[test]
    fn a_name_of_records_stands_without_a_port() {
        let endpoint: Endpoint = "srv+_http._TCP.example.com".parse().expect("a name");
        assert_eq!(endpoint.srv(), Some("_http._tcp.example.com"));
        assert_eq!((endpoint.name(), endpoint.address(), endpoint.port()), (None, None, 0));
        assert_eq!(endpoint.to_string(), "srv+_http._tcp.example.com");
        for (text, error) in [
            ("srv+_http._tcp.example.com:80", EndpointError::SrvPort),
            ("srv+", EndpointError::Host(String::new())),
            ("srv+a b", EndpointError::Host("a b".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
