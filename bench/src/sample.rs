//! One measurement: one work, through one proxy, in one round.

use anyhow::Result;
use serde::Serialize;

use crate::generator::Generator;
use crate::order::Load;
use crate::peer::Proxy;

/// A load may take so many seconds; the longest takes a few.
pub(crate) const WITHIN: u64 = 60;

/// What one proxy did with one load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Processor seconds of the proxy, if they can be known.
    pub(crate) processor: Option<f64>,
    /// Seconds on the clock.
    pub(crate) seconds: f64,
    /// Connections, messages or bytes.
    pub(crate) units: u64,
    /// Microseconds; 0 where nothing is timed by itself.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Puts a load on a proxy; the outer failure is this program's, the inner one the proxy's.
pub(crate) fn take(
    generator: &mut Generator,
    proxy: &Proxy,
    load: Load,
    held: u64,
) -> Result<Result<Sample, String>> {
    let before = proxy.meter.read()?;
    let done = match generator.put(proxy.address, load, WITHIN)? {
        Ok(done) => done,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Err(reason) = generator.settle(held)? {
        return Ok(Err(reason));
    }
    let Ok(after) = proxy.meter.read() else {
        return Ok(Err("it has ended".to_owned()));
    };
    Ok(Ok(Sample {
        processor: after.zip(before).map(|(after, before)| (after - before).as_secs_f64()),
        seconds: done.seconds,
        units: done.units,
        p50: done.p50,
        p99: done.p99,
    }))
}
