//! What becomes of the session that a datagram opens.

use refractium::{Limits, Route};

/// When it ends, and what it may have until then.
pub(super) fn end(route: &Route, limits: &Limits) -> String {
    let mut ends = Vec::new();
    if let Some(each) = route.responses() {
        let plural = if each.get() == 1 { "" } else { "s" };
        ends.push(format!("when each of its datagrams has had {each} answer{plural}"));
    }
    let idle = route.idle_timeout().unwrap_or(limits.udp_idle_timeout);
    if !idle.is_zero() {
        ends.push(format!("after {} ms without a datagram either way", idle.as_millis()));
    }
    if ends.is_empty() {
        ends.push("only when the program does".to_owned());
    }
    let text = format!("  its session ends {}\n", ends.join(", or "));
    match route.amplification_limit() {
        Some(limit) => {
            text + &format!(
                "  its client gets at most {limit} times its bytes until it sends more after an answer\n"
            )
        }
        None => text,
    }
}
