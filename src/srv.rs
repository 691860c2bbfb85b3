//! SRV records (RFC 2782): targets, with ports, priorities and weights.

mod share;

use std::cmp::Reverse;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ServerOrderingStrategy};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::group::{Found, Member};
use share::Target;

/// What a look-up found.
pub(crate) struct Answer {
    pub(crate) found: Vec<Found>,
    /// Targets without an address now: what they had last is among the others.
    pub(crate) failed: Vec<(Endpoint, io::Error)>,
}

/// Asks for the records of a name, and for the addresses of their targets. `known` is what was found last. The caller sets
/// the limit.
pub(crate) async fn look_up(name: &str, known: &[Member]) -> io::Result<Answer> {
    let resolver = Arc::new(resolver()?);
    let records = records(&resolver, name).await?;
    let (mut targets, mut failed) = (Vec::new(), Vec::new());
    for (record, endpoint, asked) in addresses(resolver, records).await {
        let addresses = asked.unwrap_or_else(|error| {
            let last = known.iter().filter(|member| *member.backend.endpoint() == endpoint);
            let last = last.map(|member| member.backend.address()).collect();
            failed.push((endpoint.clone(), error));
            last
        });
        targets.push(Target {
            priority: record.priority,
            weight: record.weight,
            endpoint,
            addresses,
        });
    }
    Ok(Answer { found: share::found(targets), failed })
}

/// A resolver as the system's is set now. It is made anew for every look-up: its file may have changed, and what it
/// remembers would be in the way of the interval.
fn resolver() -> io::Result<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().map_err(error)?;
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    builder.build().map_err(error)
}

/// The records that name a target and a port: a single dot says that there is no service (RFC 2782).
async fn records(resolver: &TokioResolver, name: &str) -> io::Result<Vec<(SRV, Endpoint)>> {
    let answer = resolver.srv_lookup(name).await.map_err(error)?;
    let records = answer.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some((srv.clone(), endpoint(srv)?)),
        _ => None,
    });
    let mut records: Vec<_> = records.collect();
    // In any order they come, the same are used.
    records.sort_by_cached_key(|(srv, endpoint)| {
        (srv.priority, Reverse(srv.weight), endpoint.to_string())
    });
    records.truncate(MOST_TARGETS);
    Ok(records)
}

fn endpoint(srv: &SRV) -> Option<Endpoint> {
    let target = srv.target.to_ascii();
    format!("{}:{}", target.strip_suffix('.').unwrap_or(&target), srv.port).parse().ok()
}

/// Asks for all beside each other.
async fn addresses(
    resolver: Arc<TokioResolver>,
    records: Vec<(SRV, Endpoint)>,
) -> Vec<(SRV, Endpoint, io::Result<Vec<SocketAddr>>)> {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let mut asked = JoinSet::new();
    for (srv, endpoint) in records {
        let (resolver, room) = (Arc::clone(&resolver), Arc::clone(&room));
        asked.spawn(async move {
            let _one = room.acquire().await;
            let found = resolver.lookup_ip(srv.target.clone()).await.map_err(error);
            let port = srv.port;
            let at = |found: hickory_resolver::lookup_ip::LookupIp| {
                found.iter().map(|ip| SocketAddr::new(ip, port)).collect()
            };
            let found = found.map(at);
            (srv, endpoint, found)
        });
    }
    asked.join_all().await
}

/// In few words, where there was an answer.
fn error(error: NetError) -> io::Error {
    let said = match &error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => "the name has no records of this kind".to_owned(),
            code => code.to_str().to_lowercase(),
        },
        _ => return io::Error::other(error),
    };
    io::Error::new(io::ErrorKind::NotFound, said)
}

/// More targets of one name than this are not used.
const MOST_TARGETS: usize = 256;

/// How many of them are asked for at a time.
const AT_A_TIME: usize = 16;
