//! The trace of the file layer: every change of a file in the order in which the system saw it, and between them
//! what the program was told to say.
//!
//! The layer itself is `interpose.c`: it is compiled here, with the C compiler that links every Rust program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the layer is asked to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The disk is full for this change.
    FullOnce,
    /// The disk is full from this change on.
    Full,
    /// This change fails.
    FailsOnce,
    /// This change and all after it fail.
    Fails,
    /// The file system is mounted read-only before this change.
    ReadOnly,
    /// This sync and all after it fail and say that they have not: for the negative control.
    Hushed,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::FailsOnce, Self::Full, Self::ReadOnly, Self::FullOnce, Self::Fails];

    pub fn name(self) -> &'static str {
        match self {
            Self::FullOnce => "ENOSPC once",
            Self::Full => "ENOSPC from there on",
            Self::FailsOnce => "EIO once",
            Self::Fails => "EIO from there on",
            Self::ReadOnly => "read-only from there on",
            Self::Hushed => "EIO from there on, hushed up",
        }
    }

    /// The plan for the layer.
    fn plan(self, number: u32) -> String {
        match self {
            Self::FullOnce => format!("{number}:28:once"),
            Self::Full => format!("{number}:28:on"),
            Self::FailsOnce => format!("{number}:5:once"),
            Self::Fails => format!("{number}:5:on"),
            Self::ReadOnly => format!("{number}:30:on"),
            Self::Hushed => format!("{number}:5:hush"),
        }
    }
}

/// The variables that put the layer in front of a program.
pub fn variables(root: &Path, trace: &Path, fault: Option<(u32, Fault)>) -> Vec<(&'static str, String)> {
    let text = |path: &Path| path.to_str().expect("paths of the tests are text").to_owned();
    let mut variables = vec![
        ("LD_PRELOAD", text(library())),
        ("EVERY_WRITE_ROOT", text(root)),
        ("EVERY_WRITE_TRACE", text(trace)),
    ];
    variables.extend(fault.map(|(number, fault)| ("EVERY_WRITE_PLAN", fault.plan(number))));
    variables
}

/// The compiled layer.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/every_write/interpose.c");
        let (fresh, library) =
            (dir.join(format!("every_write-{}.so", std::process::id())), dir.join("every_write.so"));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-U_FORTIFY_SOURCE", "-U_FILE_OFFSET_BITS", "-pthread", "-o"])
            .args([&fresh, &source])
            .output()
            .expect("a C compiler is there: Rust links with it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::rename(&fresh, &library).expect("the compiled layer gets its name");
        library
    })
}

/// Says something into the trace; of no effect without the layer.
pub fn tell(root: &Path, what: &str) {
    assert!(what.len() < 200 && !what.contains('/'), "it must be a file's name: {what}");
    let told = std::fs::File::open(root.join(".told").join(what));
    assert!(told.is_err(), "nothing is there");
}

/// Takes the planned faults back.
pub fn lift_faults(root: &Path) {
    let lifted = std::fs::File::open(root.join(".plan/none"));
    assert!(lifted.is_err(), "nothing is there");
}

/// One thing that happened. Paths are below the root; the root itself is empty.
#[derive(Debug, Clone)]
pub enum Happened {
    Opened {
        path: String,
        fd: i32,
        made: bool,
        emptied: bool,
    },
    Closed {
        fd: i32,
    },
    Duplicated {
        from: i32,
        to: i32,
    },
    Wrote {
        fd: i32,
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen {
        fd: i32,
        len: usize,
    },
    Synced {
        fd: i32,
    },
    /// `sync_file_range`: starts the writing, promises nothing (no metadata, no flush of the disk's own cache).
    RangeSynced,
    Renamed {
        from: String,
        to: String,
    },
    Unlinked {
        path: String,
    },
    DirMade {
        path: String,
    },
    DirRemoved {
        path: String,
    },
    Linked {
        from: String,
        to: String,
    },
    Told(String),
    Said(Vec<u8>),
}

/// A line of the trace.
#[derive(Debug, Clone)]
pub struct Line {
    pub what: Happened,
    /// Whether it is a change (or a sync), of which there are W.
    pub is_change: bool,
    /// The errno with which it failed.
    pub failed: Option<i32>,
}

const HEAD_BYTES: usize = 38;
const MAGIC: u32 = 0x5257_4556;

/// Reads a trace. A last line that the end of the process has cut is left out.
pub fn read(path: &Path) -> Vec<Line> {
    let bytes = std::fs::read(path).expect("the trace is there");
    let mut rest = bytes.as_slice();
    let mut lines = Vec::new();
    while let Some((line, behind)) = line(rest) {
        lines.push(line);
        rest = behind;
    }
    lines
}

fn line(bytes: &[u8]) -> Option<(Line, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let short = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let long = |at: usize| (u64::from(word(at + 4)) << 32 | u64::from(word(at))) as usize;
    assert_eq!(word(0), MAGIC, "the trace is not torn within");
    let (kind, counted, fd, error) = (head[4], head[5], word(10) as i32, word(14) as i32);
    let (offset, len) = (long(22), long(30));
    let carries = if matches!(kind, 4 | 14) { len } else { 0 };
    let (path, rest) = rest.split_at_checked(short(6))?;
    let (path2, rest) = rest.split_at_checked(short(8))?;
    let (data, rest) = rest.split_at_checked(carries)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("paths of the store are text");
    let path = text(path);
    let what = match kind {
        1 => Happened::Opened { path, fd, made: offset & 1 != 0, emptied: offset & 2 != 0 },
        2 => Happened::Closed { fd },
        3 => Happened::Duplicated { from: offset as i32, to: fd },
        4 => Happened::Wrote { fd, offset, bytes: data.to_vec() },
        5 => Happened::SetLen { fd, len: offset },
        6 => Happened::Synced { fd },
        7 => Happened::RangeSynced,
        8 => Happened::Renamed { from: path, to: text(path2) },
        9 => Happened::Unlinked { path },
        10 => Happened::DirMade { path },
        11 => Happened::DirRemoved { path },
        12 => Happened::Linked { from: path, to: text(path2) },
        13 => Happened::Told(path),
        14 => Happened::Said(data.to_vec()),
        other => panic!("the layer writes no lines of kind {other}"),
    };
    Some((Line { what, is_change: counted != 0, failed: (error != 0).then_some(error) }, rest))
}
