//! What holds for a client, from the moment when it comes.

use std::sync::Arc;

use crate::admission::Caps;
use crate::limits::{Each, Limits};
use crate::plan::Plan;
use crate::udp::Circle;

/// A plan and what follows from it. A client is given them once, so that it never meets parts of two plans.
///
/// Each worker has its own, because all of its clients count themselves there.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    /// Those of the plan. A connection that knows its way keeps them alone, so that it keeps no table in memory.
    pub(crate) limits: Arc<Limits>,
    /// Most sessions that may be open.
    pub(crate) session_caps: Caps,
    pub(crate) circle: Arc<Circle>,
}

impl Terms {
    pub(crate) fn new(plan: Arc<Plan>, circle: Arc<Circle>) -> Self {
        let limits = Arc::new(plan.limits);
        let all = limits.udp_sessions();
        let each = Each { open: limits.max_udp_sessions_per_ip, per_second: 0 };
        let session_caps = Caps { all, each };
        Self { plan, limits, session_caps, circle }
    }
}
