//! What a run is doing, on stderr: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress of a run.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    silent: bool,
}

impl Progress {
    /// For `total` scenarios.
    pub fn new(total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            let style =
                ProgressStyle::with_template("{bar:24} {pos}/{len} sandbox groups, {elapsed} gone, {eta} to go  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, silent: false }
    }

    /// For a run whose caller tells how far it is.
    pub fn silent() -> Self {
        Self { bar: None, silent: true }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None if self.silent => {}
            None => note(text),
        }
    }

    /// A scenario begins.
    pub fn begin(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// A scenario is through.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// The run is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on stderr. Nobody reads it if stderr is closed.
pub fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
