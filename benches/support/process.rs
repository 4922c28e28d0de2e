//! Numbers of a process, as the kernel tells them, and servers of our own as processes, so that their processor
//! time is theirs alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Ticks of `/proc/<pid>/stat` a second: `USER_HZ`, 100 on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// `f_type` of a file system that lives in memory: syncing it costs nothing, so figures would mean nothing.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Processor time of all threads of a process, user and system, those that have ended included.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // the name in parentheses may contain blanks; utime and stime are fields 14 and 15
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND)
}

/// Resident memory.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now, bytes.
    pub resident: u64,
    /// The most since the start or since [`forget_peak`], bytes.
    pub peak: u64,
    /// Of `resident` what no file backs, bytes: heap and stacks.
    pub anonymous: u64,
}

/// Resident memory of a process.
pub fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1_024
    };
    Memory { resident: field("VmRSS:"), peak: field("VmHWM:"), anonymous: field("RssAnon:") }
}

/// Lets the peak begin anew at the present (`man 5 proc`, `clear_refs`).
///
/// # Errors
/// The kernel does not allow it.
pub fn forget_peak(pid: u32) -> std::io::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// Whether `path` lies on a disk and not in memory.
pub fn is_on_disk(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type != TMPFS_MAGIC)
}

/// Says so if the figures will mean nothing.
#[allow(clippy::print_stdout, reason = "a bench reports to the console")]
pub fn warn_unless_on_disk(path: &Path) {
    if !is_on_disk(path) {
        println!("WARNING: {} is not on a disk; set TMPDIR to a directory that is", path.display());
    }
}

/// One of this bench's own servers in a process of its own.
pub struct OwnServer {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl OwnServer {
    /// Starts this very executable with `--serve <arguments>`; it says where it listens with [`announce`].
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("an executable has a path"))
            .arg("--serve")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this executable starts once more");
        let output = child.stdout.take().expect("its output was asked for");
        let mut output = BufReader::new(output);
        let address = next_address(&mut output);
        Self { child, output, address }
    }

    /// Tells it a line, and waits until it answers with [`announce`].
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input was asked for");
        writeln!(input, "{line}").expect("it reads its input");
        next_address(&mut self.output);
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn next_address(output: &mut BufReader<ChildStdout>) -> SocketAddr {
    let mut line = String::new();
    output.read_line(&mut line).expect("its output is text");
    line.trim().parse().unwrap_or_else(|_| panic!("a server of the bench said `{line}`"))
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // it may have ended by itself; there is nothing to tidy up in it
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an [`OwnServer`] says when it listens.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
pub fn announce(address: SocketAddr) {
    println!("{address}");
}
