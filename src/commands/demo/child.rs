//! edobridge as a real process: `serve` of this very program, started, killed, started again.
//!
//! Knows nothing of documents. Invariants: at most one process runs at a time; none is left when this value is gone;
//! all lives of the process write into one log.

use crate::config::Environment;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Variables that the process gets from ours. Not all of them: an `EDOBRIDGE__…` of the person's own installation
/// must not change the demo.
const INHERITED: [&str; 11] = [
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "TZ",
    "NO_COLOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
];
/// How often a process that is ending is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of the log that are read for its tail.
const TAIL_BYTES: u64 = 64 * 1024;
/// Ports below the range from which the system takes ports for outgoing connections (32768 on Linux), so that
/// nobody's connection takes ours while the process is dead.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports tried before giving up.
const PORT_TRIES: u16 = 500;

/// The process, running or not.
#[derive(Debug)]
pub struct Service {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    environment: Environment,
    running: Option<Child>,
}

/// How a process ended that was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// It was not running.
    WasNotRunning,
    /// By itself, with exit code 0.
    Clean,
    /// By itself, with this status.
    Unclean(ExitStatus),
    /// It did not end in time and was killed.
    Killed,
}

impl Service {
    /// `serve` with this configuration; nothing is started yet.
    ///
    /// # Errors
    /// When the path of this program is not known.
    pub fn new(config: PathBuf, log: PathBuf, environment: Environment) -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, config, log, environment, running: None })
    }

    /// Starts the process and returns its id.
    ///
    /// # Errors
    /// When the program cannot be started or the log cannot be opened.
    pub fn start(&mut self) -> io::Result<u32> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&self.config).env_clear();
        for name in INHERITED {
            if let Some(value) = self.environment.get(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.kill();
        let child = command.spawn()?;
        let id = child.id();
        self.running = Some(child);
        Ok(id)
    }

    /// The process's id, if it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// How it ended, if it was started and has ended without having been told to.
    pub fn ended_by_itself(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.try_wait().ok()??;
        self.running = None;
        Some(status)
    }

    /// SIGKILL, now: the process gets no chance to do anything. Returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            // An error means that it is gone already, which is what was wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks it to end (SIGTERM), waits for `patience`, then kills it.
    pub async fn stop(&mut self, patience: Duration) -> Farewell {
        let Some(child) = &self.running else { return Farewell::WasNotRunning };
        // An error means that it is gone already.
        let id = rustix::process::Pid::from_child(child);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended_by_itself() {
                return if status.success() { Farewell::Clean } else { Farewell::Unclean(status) };
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.kill();
        Farewell::Killed
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> Vec<String> {
        let text = read_tail(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_tail(path: &Path) -> io::Result<String> {
    use io::{Read as _, Seek as _};
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Two addresses of loopback on which nobody listens now. They have to be known before the process starts, and to
/// stay the same when it is started again.
///
/// # Errors
/// When no port is free.
pub fn free_addresses() -> io::Result<[SocketAddr; 2]> {
    let random = uuid::Uuid::new_v4().as_u128();
    let span = PORTS.end - PORTS.start;
    let first = PORTS.start + u16::try_from(random % u128::from(span)).unwrap_or(0);
    // Both are held until both are found, so that they differ.
    let mut held: Vec<TcpListener> = Vec::new();
    for step in 0..PORT_TRIES {
        let port = PORTS.start + (first - PORTS.start + step) % span;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push(listener);
        }
        if let [one, two] = held.as_slice() {
            return Ok([one.local_addr()?, two.local_addr()?]);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port on loopback"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(dir: &Path, program: &str) -> Service {
        Service {
            program: program.into(),
            config: "unused.toml".into(),
            log: dir.join("log"),
            environment: Environment::default(),
            running: None,
        }
    }

    #[test]
    fn two_addresses_differ_and_can_be_listened_on() {
        let [one, two] = free_addresses().unwrap();
        assert_ne!(one, two);
        assert!(TcpListener::bind(one).is_ok() && TcpListener::bind(two).is_ok());
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_is_noticed_and_its_words_are_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut service = service(dir.path(), "/bin/echo");
        service.start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            match service.ended_by_itself() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "echo does not end"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        assert!(status.success());
        assert_eq!(service.log_tail(5), ["serve --config unused.toml"]);
        assert_eq!(service.stop(Duration::ZERO).await, Farewell::WasNotRunning);
    }

    #[tokio::test]
    async fn a_killed_process_is_gone_and_can_be_started_again() {
        let mut service = service(Path::new("/dev"), "/usr/bin/yes");
        service.log = "/dev/null".into();
        let first = service.start().unwrap();
        service.kill();
        assert_eq!(service.id(), None);
        let second = service.start().unwrap();
        assert_ne!(first, second);
        let end = service.stop(Duration::from_secs(10)).await;
        assert!(matches!(end, Farewell::Unclean(_)), "SIGTERM ends it at once: {end:?}");
    }
}
