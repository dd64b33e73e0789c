//! `docker exec`, timed: the only use there is for it here.

use std::time::{Duration, Instant};

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt;

use super::{Docker, reason, within};
use crate::error::Error;

impl Docker {
    /// Executes a command in a running container, and waits until its output has ended: how long that took, and what it
    /// wrote.
    pub async fn exec(&self, id: &str, args: &[&str]) -> Result<(Duration, Vec<u8>), Error> {
        let refused = |e| Error::engine("execute in a container", &reason(&e));
        let begun = Instant::now();
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(args.iter().map(|a| (*a).to_owned()).collect()),
            ..Default::default()
        };
        let call = async {
            let exec = self.client().create_exec(id, config).await.map_err(refused)?;
            let started = self.client().start_exec(&exec.id, None::<StartExecOptions>).await.map_err(refused)?;
            let mut seen = Vec::new();
            if let StartExecResults::Attached { mut output, input: _input } = started {
                while let Some(part) = output.next().await {
                    seen.extend_from_slice(&part.map_err(refused)?.into_bytes());
                    if seen.len() > MOST {
                        return Err(Error::engine("execute in a container", &"its output does not end"));
                    }
                }
            }
            Ok(seen)
        };
        let seen = within("executing in a container", 60, call).await??;
        Ok((begun.elapsed(), seen))
    }
}

const MOST: usize = 64 << 10;
