//! `/metrics`: what Prometheus scrapes. Labels come from the configuration alone: no client can make a series.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use refractium_protocol::Transport;

use super::Seen;
use super::book::{BackendCounts, Page};
use super::count::{Histogram, Reasons, Total};
use super::status::{BackendState, Descriptors, State};
use crate::table::Route;

/// Everything that was counted, in the form that is asked for.
pub(super) struct Metrics(Registry);

/// The two text forms that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Prometheus,
    OpenMetrics,
}

impl Form {
    /// What a scraper says that it takes. Version 1.0.0 is asked for by those who know it.
    pub(super) fn accepted(accept: &str) -> Self {
        let is_open = accept.contains("application/openmetrics-text");
        if is_open { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    pub(super) fn new(seen: &Arc<Seen>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collected(Arc::clone(seen))));
        Self(registry)
    }

    pub(super) fn text(&self, form: Form) -> Result<String, fmt::Error> {
        let mut written = String::new();
        match form {
            Form::Prometheus => prometheus_text::encode(&mut written, &self.0)?,
            Form::OpenMetrics => text::encode(&mut written, &self.0)?,
        }
        Ok(written)
    }
}

struct Collected(Arc<Seen>);

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collected").finish_non_exhaustive()
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = &self.0;
        let mut out = Out(encoder);
        of_program(seen, &mut out)?;
        of_clients(seen, &mut out)?;
        let book = seen.book.load();
        of_routes(&book.now, &mut out)?;
        of_identification(&book.now, &mut out)?;
        of_backends(&book.now, &mut out)
    }
}

fn of_program(seen: &Seen, out: &mut Out<'_>) -> fmt::Result {
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    out.gauges("refractium_build_info", "What this is a build of", [(version, 1.0)])?;
    let started = seen.since.0.duration_since(UNIX_EPOCH).map_or(0.0, |it| it.as_secs_f64());
    out.gauge("process_start_time_seconds", "When it started, since 1970", started)?;
    let is_ready = if seen.state() == State::Serving { 1.0 } else { 0.0 };
    out.gauge("refractium_ready", "Whether every address is served and nothing ends", is_ready)?;
    if let Some(Descriptors { open, most }) = Descriptors::now() {
        out.gauge("process_open_fds", "Open descriptors", float(open))?;
        out.gauge("process_max_fds", "How many descriptors may be open", float(most))?;
    }
    out.counter(
        "refractium_log_lines_lost",
        "Log lines that nobody read in time, or that could not be written",
        crate::log::lost(),
    )?;
    let (name, help) = ("refractium_worker_stalls", "How often a worker stood still");
    out.counter(name, help, seen.stalls.get())?;
    let name = "refractium_reloads";
    let results = seen.reloads.all().map(|(word, count)| (vec![("result", word)], count));
    out.counters(name, "How often other routes and limits were asked for, by result", results)
}

fn of_clients(seen: &Seen, out: &mut Out<'_>) -> fmt::Result {
    if let Some(held) = seen.plan.load().as_ref() {
        let open = [
            ("refractium_connections_open", "TCP connections now", held.open.connections()),
            ("refractium_connections_max", "How many may be", held.limits.max_connections),
            (
                "refractium_undecided_open",
                "TCP connections that said too little",
                held.open.undecided(),
            ),
            ("refractium_sessions_open", "UDP sessions now", held.open.sessions()),
            ("refractium_sessions_max", "How many may be", held.limits.udp_sessions()),
        ];
        for (name, help, count) in open {
            out.gauge(name, help, float(count.total()))?;
        }
    }
    let accepted = seen.accepted.get();
    out.counter("refractium_connections_accepted", "TCP connections that came", accepted)?;
    let failed = seen.accept_failed.get();
    out.counter("refractium_accept_failures", "How often accepting failed", failed)?;
    let name = "refractium_listen_overflows";
    let overflows = seen.queue_overflowed.get();
    out.counter(name, "Packets of clients that a listener's queue did not hold", overflows)?;
    let name = "refractium_datagrams_overflowed";
    out.counter(name, "Datagrams that came faster than they were read", seen.overflowed.get())?;
    let by_transport = |all: &'static str, both: &[Reasons; 2]| {
        let rows = ["tcp", "udp"].into_iter().zip(both);
        let rows = rows.flat_map(move |(transport, reasons)| {
            reasons
                .all()
                .map(move |(word, count)| (vec![("transport", transport), (all, word)], count))
        });
        rows.collect::<Vec<_>>()
    };
    let (name, help) = (
        "refractium_refusals",
        "Connections that were not carried, and datagrams without a session, by reason",
    );
    out.counters(name, help, by_transport("reason", &seen.refused))?;
    let (name, help) =
        ("refractium_unrouted", "Openings that no route takes, by what brought that to light");
    out.counters(name, help, by_transport("by", &seen.unrouted))
}

type Row = (Arc<Route>, Arc<Page>);

fn labels<'a>(page: &'a Page, more: &[(&'static str, &'a str)]) -> Labels<'a> {
    let transport = word(page.counts.transport);
    let mut labels = vec![("route", page.counts.label.as_str()), ("transport", transport)];
    labels.extend(more);
    labels
}

const fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn of_routes(rows: &[Row], out: &mut Out<'_>) -> fmt::Result {
    let pages = || rows.iter().map(|(_, page)| &**page);
    let open = pages().map(|page| (labels(page, &[]), float(page.open())));
    out.gauges("refractium_route_open", "Connections or sessions that have a backend now", open)?;
    let reasons = |key: &'static str, of: fn(&Page) -> &Reasons| {
        let of_page = move |page| {
            of(page).all().map(move |(word, count)| (labels(page, &[(key, word)]), count))
        };
        pages().flat_map(of_page).collect::<Vec<_>>()
    };
    let (name, help) =
        ("refractium_route_decisions", "Openings that were decided for it, by what brought that");
    out.counters(name, help, reasons("by", |page| &page.counts.decided))?;
    let (name, help) =
        ("refractium_route_ended", "Connections or sessions that have ended, by reason");
    out.counters(name, help, reasons("reason", |page| &page.counts.ended))?;
    let both = |of: fn(&Page) -> [u64; 2]| {
        let of_page = move |page| {
            let of_page = ["up", "down"].into_iter().zip(of(page));
            of_page.map(move |(way, count)| (labels(page, &[("direction", way)]), count))
        };
        pages().flat_map(of_page)
    };
    let (name, help) =
        ("refractium_route_bytes", "Bytes from clients to backends, up, and back, down");
    let bytes = |page: &Page| [page.counts.up.bytes.get(), page.counts.down.bytes.get()];
    out.counters(name, help, both(bytes))?;
    let udp = |page: &&Page| page.counts.transport == Transport::Udp;
    let datagrams = pages().filter(udp).flat_map(|page| {
        let (up, down) = (page.counts.up.datagrams.get(), page.counts.down.datagrams.get());
        [("up", up), ("down", down)]
            .map(|(way, count)| (labels(page, &[("direction", way)]), count))
    });
    let (name, help) =
        ("refractium_route_datagrams", "Datagrams from clients to backends, up, and back, down");
    out.counters(name, help, datagrams)?;
    let lost = pages().filter(udp).flat_map(|page| {
        page.counts.lost.all().map(move |(word, count)| (labels(page, &[("reason", word)]), count))
    });
    let name = "refractium_route_datagrams_dropped";
    out.counters(name, "Datagrams of sessions that were dropped, by reason", lost)
}

/// By protocol: routes of one are added up.
fn of_identification(rows: &[Row], out: &mut Out<'_>) -> fmt::Result {
    let mut protocols: Vec<(&str, Transport)> = Vec::new();
    for (route, page) in rows {
        let key = (route.name(), page.counts.transport);
        if !protocols.contains(&key) {
            protocols.push(key);
        }
    }
    let of_protocol = |of: fn(&Page) -> &Histogram| {
        protocols.iter().map(move |&(name, transport)| {
            let is_its =
                |(route, page): &&Row| route.name() == name && page.counts.transport == transport;
            let total =
                rows.iter().filter(is_its).fold(Total::default(), |mut total, (_, page)| {
                    total.add(of(page));
                    total
                });
            (vec![("protocol", name), ("transport", word(transport))], total)
        })
    };
    let (name, help) = (
        "refractium_identification_seconds",
        "From the first look at a client until its route was known",
    );
    out.histograms(name, help, of_protocol(|page| &page.counts.time), NANOSECONDS)?;
    let (name, help) =
        ("refractium_identification_bytes", "What a client had said when its route was known");
    out.histograms(name, help, of_protocol(|page| &page.counts.bytes), 1.0)
}

fn of_backends(rows: &[Row], out: &mut Out<'_>) -> fmt::Result {
    let named: Vec<(String, &Row, &BackendCounts)> = rows
        .iter()
        .flat_map(|row| row.1.backends.iter().map(move |it| (it.endpoint.to_string(), row, &**it)))
        .collect();
    let each =
        || named.iter().map(|(name, row, counts)| (labels(&row.1, &[("backend", name)]), *counts));
    let open = each().map(|(labels, counts)| (labels, float(counts.open())));
    out.gauges("refractium_backend_open", "Connections or sessions that it has", open)?;
    let joined = each().map(|(labels, counts)| (labels, counts.joined.get()));
    out.counters("refractium_backend_joined", "Connections or sessions that it was given", joined)?;
    let failed = each().map(|(labels, counts)| (labels, counts.failed.get()));
    let help = "How often it did not take one, or reset too many that it took";
    out.counters("refractium_backend_failures", help, failed)?;
    let states = named.iter().flat_map(|(name, row, counts)| {
        let all = row.0.pool().backends();
        let its: Vec<_> = all
            .iter()
            .filter(|it| *it.forwarded_to() == counts.endpoint)
            .map(|it| BackendState::of(it))
            .collect();
        BackendState::ALL.map(|state| {
            let count = its.iter().filter(|it| **it == state).count();
            (labels(&row.1, &[("backend", name), ("state", state.word())]), float(count.total()))
        })
    });
    out.gauges("refractium_backend_addresses", "Addresses that it has now, by state", states)?;
    let tcp = named.iter().filter(|(_, row, _)| row.1.counts.transport == Transport::Tcp);
    let connect = tcp.map(|(name, row, counts)| {
        let mut total = Total::default();
        total.add(&counts.connect);
        (labels(&row.1, &[("backend", name)]), total)
    });
    let (name, help) = ("refractium_backend_connect_seconds", "How long it took to connect to it");
    out.histograms(name, help, connect, NANOSECONDS)
}

/// Writes families of metrics.
struct Out<'e>(DescriptorEncoder<'e>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// `unit` is how many of what was observed make one of what is told.
    fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, Total)>,
        unit: f64,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, Total { sum, buckets }) in rows {
            let scaled = |(bound, count): &(Option<u64>, u64)| {
                (bound.map_or(f64::INFINITY, |it| float(it) / unit), *count)
            };
            let buckets: Vec<_> = buckets.iter().map(scaled).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(float(sum) / unit, count, &buckets, None)?;
        }
        Ok(())
    }
}

const NANOSECONDS: f64 = 1e9;

/// Prometheus has no other numbers; what does not fit exactly is beyond 2^53.
#[allow(clippy::as_conversions, clippy::cast_precision_loss)]
const fn float(count: u64) -> f64 {
    count as f64
}

trait Countable {
    fn total(self) -> u64;
}

impl Countable for usize {
    fn total(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}
