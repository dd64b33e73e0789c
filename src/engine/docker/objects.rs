//! Networks, volumes, and finding again what a run made.

use std::{
    collections::HashMap,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    time::Duration,
};

use bollard::{
    models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{
        ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    },
};

use super::{Docker, ROLE_LABEL, RUN_LABEL, reason, within};
use crate::error::Error;

/// What carries a run's label.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Containers: id, name, role label, whether it runs.
    pub containers: Vec<(String, String, String, bool)>,
    /// Networks: id, name.
    pub networks: Vec<(String, String)>,
    /// Volumes.
    pub volumes: Vec<String>,
}

/// Waits until no other run of this host, and nothing else of this one, is making a network.
///
/// With each network the engine moves its jump to DOCKER-USER to the head of FORWARD: it deletes the rule and inserts it
/// again. Engine 20.10 does that for two networks at a time, and where both insert after one delete, a second jump stays
/// on the host for good. The abstract socket is given back however a run ends; whoever holds it for longer than a network
/// takes is not waited for.
async fn turn() -> Option<UnixListener> {
    for _ in 0..1000 {
        if let Some(held) = hold("making-a-network") {
            return Some(held);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Takes something that only one run at a time may have, by an abstract socket of this name; none if another one has it.
/// It is given back however the run ends.
pub(crate) fn hold(what: &str) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("awf-probe/{what}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

impl Docker {
    /// Makes a bridge network.
    pub async fn make_network(
        &self,
        run: &str,
        name: &str,
        subnet: &str,
        bridge: &str,
        internal: bool,
    ) -> Result<(), Error> {
        let options = [
            // Masquerading would hide which agent a packet came from.
            ("com.docker.network.bridge.enable_ip_masquerade", "false"),
            ("com.docker.network.bridge.name", bridge),
        ];
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(internal),
            enable_ipv6: Some(false),
            ipam: Some(Ipam {
                driver: None,
                config: Some(vec![IpamConfig { subnet: Some(subnet.to_owned()), ..Default::default() }]),
                options: None,
            }),
            options: Some(options.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.to_owned())])),
            ..Default::default()
        };
        let turn = turn().await;
        let made = within("creating a network", 60, self.client().create_network(request)).await?;
        drop(turn);
        made.map(drop).map_err(|e| Error::engine(format!("create the network {name} ({subnet})"), &reason(&e)))
    }

    /// Makes a volume.
    pub async fn make_volume(&self, run: &str, name: &str) -> Result<(), Error> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.to_owned())])),
            ..Default::default()
        };
        let made = within("creating a volume", 30, self.client().create_volume(request)).await?;
        made.map(drop).map_err(|e| Error::engine(format!("create the volume {name}"), &reason(&e)))
    }

    /// Everything with a run's label, or with any run's.
    pub async fn made_by(&self, run: Option<&str>) -> Result<HashMap<String, Made>, Error> {
        let label = run.map_or_else(|| RUN_LABEL.to_owned(), |r| format!("{RUN_LABEL}={r}"));
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let refused = |e| Error::engine("list what carries awf-probe's label", &reason(&e));
        let mut made: HashMap<String, Made> = HashMap::new();
        let of = |labels: &HashMap<String, String>| labels.get(RUN_LABEL).cloned().unwrap_or_default();

        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let mut rounds = 0;
        let containers = loop {
            let listed = within("listing containers", 60, self.client().list_containers(Some(options.clone()))).await?;
            match listed {
                Err(e) if self.passes(&e, &mut rounds) => tokio::time::sleep(Duration::from_millis(100)).await,
                other => break other,
            }
        };
        for c in containers.map_err(refused)? {
            let labels = c.labels.unwrap_or_default();
            let role = labels.get(ROLE_LABEL).cloned().unwrap_or_default();
            let name = c.names.unwrap_or_default().join(" ");
            let running = c.state.is_some_and(|s| s.to_string() == "running");
            made.entry(of(&labels)).or_default().containers.push((c.id.unwrap_or_default(), name, role, running));
        }
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = within("listing networks", 60, self.client().list_networks(Some(options))).await?;
        for n in networks.map_err(refused)? {
            let run = of(&n.labels.unwrap_or_default());
            made.entry(run).or_default().networks.push((n.id.unwrap_or_default(), n.name.unwrap_or_default()));
        }
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let volumes = within("listing volumes", 60, self.client().list_volumes(Some(options))).await?;
        for v in volumes.map_err(refused)?.volumes.unwrap_or_default() {
            made.entry(of(&v.labels)).or_default().volumes.push(v.name);
        }
        Ok(made)
    }

    /// Removes what a run made, containers first. Returns what could not be removed, with the reason.
    pub async fn remove_made(&self, made: &Made) -> Vec<String> {
        let mut left = Vec::new();
        let options = || RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removals = made.containers.iter().map(|(id, name, ..)| async move {
            (name, within("removing a container", 60, self.client().remove_container(id, Some(options()))).await)
        });
        for (name, outcome) in futures_util::future::join_all(removals).await {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(e)) if gone(&e) => {}
                Ok(Err(e)) => left.push(format!("container {name}: {}", reason(&e))),
                Err(e) => left.push(format!("container {name}: {e}")),
            }
        }
        let removals = made.networks.iter().map(|(id, name)| async move {
            (name, within("removing a network", 60, self.client().remove_network(id)).await)
        });
        for (name, outcome) in futures_util::future::join_all(removals).await {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(e)) if gone(&e) => {}
                Ok(Err(e)) => left.push(format!("network {name}: {}", reason(&e))),
                Err(e) => left.push(format!("network {name}: {e}")),
            }
        }
        for name in &made.volumes {
            match self.client().remove_volume(name, None::<RemoveVolumeOptions>).await {
                Ok(()) => {}
                Err(e) if gone(&e) => {}
                Err(e) => left.push(format!("volume {name}: {}", reason(&e))),
            }
        }
        left
    }
}

/// Whether a removal failed because there is nothing left to remove.
pub(super) fn gone(error: &bollard::errors::Error) -> bool {
    match error {
        // 409: a removal that is already under way.
        bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => true,
        bollard::errors::Error::DockerResponseServerError { status_code: 409, message } => {
            message.contains("already in progress")
        }
        _ => false,
    }
}
