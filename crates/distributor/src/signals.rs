//! Signals of the process. None of them ends it abruptly.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT or SIGQUIT: to end.
    End(&'static str),
    /// SIGHUP: to read again what can change while the process runs.
    Reload,
    /// SIGUSR1 or SIGUSR2: nothing.
    Nothing(&'static str),
}

/// The process's signals, from [`Signals::listen`] on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// Takes the signals over from the kernel, which would end the process. To be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// When a signal cannot be taken.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one. Nothing is lost when this is dropped.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.quit.recv() => Asked::End("SIGQUIT"),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user_1.recv() => Asked::Nothing("SIGUSR1"),
            _ = self.user_2.recv() => Asked::Nothing("SIGUSR2"),
        }
    }

    /// Waits for a signal that ends the process, and logs others as having no effect.
    pub async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Asked::End(signal) => return signal,
                Asked::Reload => ignore("SIGHUP"),
                Asked::Nothing(signal) => ignore(signal),
            }
        }
    }
}

/// Says that a signal has no effect.
pub fn ignore(signal: &'static str) {
    tracing::info!(signal, "ignored a signal that has no effect");
}
