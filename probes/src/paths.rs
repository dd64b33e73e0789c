//! Paths an agent must not see. The battery of [`crate::environment`] reads them after the drop; this family
//! adds what only the entrypoint's view can tell.

use crate::{Cx, Probe, environment};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "mask",
    about: "a credential file covered by /dev/null, and the same file without the cover",
    specs: &["awf", "bare"],
    ask: mask,
}];

fn mask(cx: &mut Cx) {
    cx.fact("", environment::read("/host/home/agent/.netrc"));
    cx.fact("neighbour", environment::read("/host/home/agent/visible"));
}
