//! What is measured of datagrams beside traffic in rounds.

mod calls;
mod pace;
mod scale;

use anyhow::Result;

use super::{Bench, idle};
use crate::report::Section;
use crate::work::Work;

pub(super) use scale::measure as scale;

/// A section for each of these works that is wanted.
pub(super) fn measure(
    bench: &mut Bench,
    works: &[Work],
    limit: Option<u64>,
) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    if works.contains(&Work::UdpRate) {
        sections.push(pace::measure(bench)?);
    }
    if works.contains(&Work::UdpIdle) {
        sections.push(idle::measure(bench, Work::UdpIdle, limit)?);
    }
    if works.contains(&Work::UdpCalls) {
        sections.extend(calls::measure(bench)?);
    }
    Ok(sections)
}
