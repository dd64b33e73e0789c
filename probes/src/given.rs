//! What of an image's configuration reached the process: asked in a container of an image the user names.

use std::fs;

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "given",
    about: "user, working directory and environment against what an image's configuration says",
    specs: &[],
    ask: given,
}];

fn given(cx: &mut Cx) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (user, workdir, env) = (cx.text("user").to_owned(), cx.text("workdir").to_owned(), cx.texts("env"));
    let same = |wanted: String, found: String| {
        if wanted == found {
            Outcome::allowed(found)
        } else {
            Outcome::refused("another", format!("{found}, not {wanted}"))
        }
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    cx.fact(
        "user",
        match ids(&user, &read("/etc/passwd"), &read("/etc/group")) {
            Some((u, g)) => same(format!("{u}:{g}"), format!("{uid}:{gid}")),
            None => Outcome::broken(format!("the image does not know its user {user:?}")),
        },
    );
    let here = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_else(|e| e.to_string());
    cx.fact("workdir", same(workdir, here));
    let missing: Vec<&String> = env
        .iter()
        .filter(|e| e.split_once('=').is_none_or(|(name, value)| std::env::var(name).as_deref() != Ok(value)))
        .collect();
    cx.fact(
        "env",
        match missing.first() {
            None => Outcome::allowed(format!("{} variables", env.len())),
            Some(first) => {
                let name = first.split('=').next().unwrap_or_default();
                Outcome::refused("another", format!("{} of {} differ, such as {name}", missing.len(), env.len()))
            }
        },
    );
}

/// The ids that `USER` of an image stands for: a name or a number, and a group behind a colon.
fn ids(user: &str, passwd: &str, group: &str) -> Option<(u32, u32)> {
    let (user, of_group) = user.split_once(':').map_or((user, None), |(u, g)| (u, Some(g)));
    let line = |text: &str, at: usize, key: &str| -> Option<Vec<String>> {
        let mut lines = text.lines().map(|l| l.split(':').map(str::to_owned).collect::<Vec<_>>());
        lines.find(|f| f.get(at).is_some_and(|v| v == key))
    };
    let number = |fields: &[String], at: usize| fields.get(at).and_then(|v| v.parse::<u32>().ok());
    let user = if user.is_empty() { "0" } else { user };
    let (uid, primary) = match (line(passwd, 0, user), user.parse::<u32>()) {
        (Some(fields), _) => (number(&fields, 2)?, number(&fields, 3)?),
        // A number need not be known; its group is then root's.
        (None, Ok(uid)) => (uid, line(passwd, 2, user).and_then(|f| number(&f, 3)).unwrap_or(0)),
        (None, Err(_)) => return None,
    };
    let gid = match of_group {
        None => primary,
        Some(name) => match (line(group, 0, name), name.parse::<u32>()) {
            (Some(fields), _) => number(&fields, 2)?,
            (None, Ok(gid)) => gid,
            (None, Err(_)) => return None,
        },
    };
    Some((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_a_number_with_or_without_a_group() {
        let (passwd, group) = ("root:x:0:0::/:\nagent:x:1000:1001::/:\n", "root:x:0:\nstaff:x:50:\n");
        let of = |user: &str| ids(user, passwd, group);
        assert_eq!(of(""), Some((0, 0)));
        assert_eq!(of("agent"), Some((1000, 1001)));
        assert_eq!(of("1000"), Some((1000, 1001)));
        assert_eq!(of("agent:staff"), Some((1000, 50)));
        assert_eq!(of("1000:7"), Some((1000, 7)));
        assert_eq!(of("4711"), Some((4711, 0)));
        assert_eq!(of("nobody"), None);
        assert_eq!(of("agent:nobody"), None);
    }
}
