//! Where no SRV records are looked up.

use super::EndpointError;

pub(super) fn name(_: &str) -> Result<String, EndpointError> {
    Err(EndpointError::NoSrv)
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;

    #[test]
    fn what_is_not_built_is_named() {
        let text = "srv+_http._tcp.example.com";
        assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::NoSrv));
    }
}
