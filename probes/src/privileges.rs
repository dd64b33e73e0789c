//! Privilege that must not come back: a setuid program under no_new_privs.

use crate::pace;
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe, guest,
    sys::{self, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "setuid", about: "a setuid-root program executed by user 1001", specs: &["awf", "plain"], ask: setuid },
    Probe { id: "setuid.look", about: "the effective user of this process", specs: &[], ask: look },
];

const HELPER: &str = "/awf-probe-setuid";

fn setuid(cx: &mut Cx) {
    let made =
        fs::copy("/awf-probe", HELPER).and_then(|_| fs::set_permissions(HELPER, fs::Permissions::from_mode(0o4755)));
    if let Err(e) = made {
        return cx.fact("", Outcome::broken(format!("cannot make {HELPER}: {e}")));
    }
    let Some(mut twin) = cx.twin("setuid") else { return cx.fact("", Outcome::broken("dup")) };
    let end = in_child(pace::scaled(Duration::from_secs(10)), || {
        if let Err(e) = sys::become_user(1001) {
            twin.fact("", Outcome::broken(format!("cannot become user 1001: {e}")));
            return 1;
        }
        match sys::run(HELPER, &["guest-once", "setuid.look", "setuid", "{}"], pace::scaled(Duration::from_secs(5))) {
            Ok(r) => match guest::parse_facts(&r.out).get("setuid") {
                Some(fact) => twin.relay(fact),
                None => twin.fact("", Outcome::broken(format!("exit {:?}: {}", r.status, r.err))),
            },
            Err(e) => twin.fact("", Outcome::broken(format!("exec {HELPER}: {e}"))),
        }
        0
    });
    if end.is_err() {
        cx.fact("", Outcome::broken("fork"));
    }
}

fn look(cx: &mut Cx) {
    let euid = rustix::process::geteuid().as_raw();
    cx.fact(
        "",
        if euid == 0 {
            Outcome::allowed("effective user 0")
        } else {
            Outcome::refused(format!("euid {euid}"), "the setuid bit gained nothing")
        },
    );
}
