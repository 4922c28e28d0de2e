//! What a power cut, or the mere death of a process, leaves of files: made of the trace, for any moment of it.
//!
//! The rules are the strictest that POSIX leaves to a file system:
//! * bytes are durable when `fsync` or `fdatasync` of their file has returned; `sync_file_range` promises nothing;
//! * a name is durable when its directory was synced: syncing the file does not make its name durable;
//! * after a failed sync nothing that was written before is durable any more, whatever a later sync says (the
//!   kernel has given those pages up);
//! * a rename is atomic, and belongs to the directory that it goes to.

use crate::trace::{Happened, Line};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// What is left of the changes that no sync has covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// All of them: only the process has died.
    Death,
    /// None.
    Dropped,
    /// All but the last write, of which some sectors of 512 bytes are left.
    Torn,
    /// Some of them: each block of a file as it was at some moment since the last sync, whatever the others are; each
    /// change of a name with even chance.
    Reordered,
}

impl Cut {
    pub const ALL: [Self; 4] = [Self::Death, Self::Dropped, Self::Torn, Self::Reordered];
    pub fn name(self) -> &'static str {
        match self {
            Self::Death => "process death",
            Self::Dropped => "power cut, unsynced dropped",
            Self::Torn => "power cut, last write torn",
            Self::Reordered => "power cut, reordered",
        }
    }
    pub fn is_power_cut(self) -> bool {
        self != Self::Death
    }
}

/// Which syncs count: for the negative control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncs {
    /// All that succeeded.
    Honest,
    /// Those of the journal say "done" and do nothing.
    JournalLies,
}

type NodeId = usize;

/// A directory or a file.
#[derive(Clone)]
enum Node {
    Dir,
    File(FileNode),
}

#[derive(Clone, Default)]
struct FileNode {
    durable: Vec<u8>,
    unsynced: Vec<DataChange>,
}

#[derive(Clone)]
struct DataChange {
    number: usize,
    data: Data,
    fate: Fate,
}

#[derive(Clone)]
enum Data {
    Wrote { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// What became of a change of data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No sync has covered it yet.
    Unsynced,
    /// A sync that should have covered it failed.
    GivenUp,
    /// It is durable, and remembered only because it came after one that was given up.
    Durable,
}

/// A name in a directory.
type Name = (NodeId, String);

/// A change of names, as one.
#[derive(Clone)]
struct NameChange {
    edits: Vec<(Name, Option<NodeId>)>,
    /// Syncing this directory makes it durable.
    dir: NodeId,
}

const ROOT: NodeId = 0;
/// What the disk writes at once.
const PAGE_BYTES: usize = 4_096;
const SECTOR_BYTES: usize = 512;

/// The files as the program sees them, and what of that is durable.
pub struct Image {
    nodes: Vec<Node>,
    /// Names as the program sees them.
    names: BTreeMap<Name, NodeId>,
    durable_names: BTreeMap<Name, NodeId>,
    unsynced_names: Vec<NameChange>,
    open: BTreeMap<i32, NodeId>,
    changes: usize,
    syncs: Syncs,
}

/// Files with their bytes, directories without.
pub type Files = BTreeMap<String, Option<Vec<u8>>>;

impl Image {
    /// An empty root directory, which is durable.
    pub fn new(syncs: Syncs) -> Self {
        Self {
            nodes: vec![Node::Dir],
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            open: BTreeMap::new(),
            changes: 0,
            syncs,
        }
    }

    /// Files that are there and durable.
    pub fn of(files: &Files, syncs: Syncs) -> Self {
        let mut image = Self::new(syncs);
        // In the order of their paths: a directory before what is in it.
        for (path, bytes) in files {
            let durable =
                |bytes: &Vec<u8>| Node::File(FileNode { durable: bytes.clone(), unsynced: Vec::new() });
            image.add(path, bytes.as_ref().map_or(Node::Dir, durable));
        }
        image.unsynced_names.clear();
        image.durable_names = image.names.clone();
        image
    }

    fn find(&self, path: &str) -> Option<NodeId> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.into_iter().try_fold(ROOT, |dir, part| self.names.get(&(dir, part.to_owned())).copied())
    }

    fn name(&self, path: &str) -> Name {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.find(dir).unwrap_or_else(|| panic!("the directory of {path} is known"));
        (dir, name.to_owned())
    }

    fn path_of(&self, node: NodeId) -> String {
        let Some(((dir, name), _)) = self.names.iter().find(|(_, n)| **n == node) else {
            return String::new();
        };
        if *dir == ROOT { name.clone() } else { format!("{}/{name}", self.path_of(*dir)) }
    }

    fn rename_as_one(&mut self, dir: NodeId, edits: Vec<(Name, Option<NodeId>)>) {
        for (name, node) in &edits {
            match node {
                Some(node) => self.names.insert(name.clone(), *node),
                None => self.names.remove(name),
            };
        }
        self.unsynced_names.push(NameChange { edits, dir });
    }

    fn add(&mut self, path: &str, node: Node) -> NodeId {
        let name = self.name(path);
        let id = self.nodes.len();
        self.nodes.push(node);
        self.rename_as_one(name.0, vec![(name, Some(id))]);
        id
    }

    fn file(&mut self, fd: i32) -> Option<&mut FileNode> {
        let node = *self.open.get(&fd)?;
        match &mut self.nodes[node] {
            Node::File(file) => Some(file),
            Node::Dir => None,
        }
    }

    fn change_data(&mut self, fd: i32, data: Data) {
        let number = self.changes;
        let file = self.file(fd).expect("only an open file is written");
        file.unsynced.push(DataChange { number, data, fate: Fate::Unsynced });
    }

    /// Lets one more thing happen.
    pub fn advance(&mut self, line: &Line) {
        self.changes += usize::from(line.is_change);
        let failed = line.failed.is_some();
        match &line.what {
            Happened::Opened { path, fd, made, emptied } => {
                if failed {
                    return;
                }
                let node = if *made {
                    self.add(path, Node::File(FileNode::default()))
                } else {
                    self.find(path).unwrap_or_else(|| panic!("{path} is opened and was never made"))
                };
                self.open.insert(*fd, node);
                if *emptied {
                    self.change_data(*fd, Data::SetLen(0));
                }
            }
            Happened::Closed { fd } => drop(self.open.remove(fd)),
            Happened::Duplicated { from, to } => {
                let node = self.open[from];
                self.open.insert(*to, node);
            }
            Happened::Wrote { fd, offset, bytes } => {
                self.change_data(*fd, Data::Wrote { offset: *offset, bytes: bytes.clone() });
            }
            Happened::SetLen { fd, len } if !failed => {
                self.change_data(*fd, Data::SetLen(*len));
            }
            Happened::Synced { fd } => self.sync(*fd, failed),
            Happened::Renamed { from, to } if !failed => {
                let (from, to) = (self.name(from), self.name(to));
                let node = self.names[&from];
                self.rename_as_one(to.0, vec![(from, None), (to, Some(node))]);
            }
            Happened::Unlinked { path } | Happened::DirRemoved { path } if !failed => {
                let name = self.name(path);
                self.rename_as_one(name.0, vec![(name, None)]);
            }
            Happened::DirMade { path } if !failed => drop(self.add(path, Node::Dir)),
            Happened::Linked { from, to } if !failed => {
                let (node, to) = (self.find(from).expect("what is linked is there"), self.name(to));
                self.rename_as_one(to.0, vec![(to, Some(node))]);
            }
            Happened::SetLen { .. }
            | Happened::Renamed { .. }
            | Happened::Unlinked { .. }
            | Happened::DirRemoved { .. }
            | Happened::DirMade { .. }
            | Happened::Linked { .. }
            | Happened::RangeSynced
            | Happened::Told(_)
            | Happened::Said(_) => {}
        }
    }

    fn sync(&mut self, fd: i32, failed: bool) {
        let node = self.open[&fd];
        if self.syncs == Syncs::JournalLies && self.path_of(node).ends_with(".seg") {
            return;
        }
        match &mut self.nodes[node] {
            Node::File(file) => file.sync(failed),
            Node::Dir if failed => {}
            Node::Dir => self.sync_names(node),
        }
    }

    fn sync_names(&mut self, dir: NodeId) {
        let mut later = Vec::new();
        for change in std::mem::take(&mut self.unsynced_names) {
            if change.dir != dir {
                later.push(change);
                continue;
            }
            for (name, node) in &change.edits {
                // An earlier change of the same name, in another directory's custody, has been overtaken.
                for earlier in &mut later {
                    earlier.edits.retain(|(other, _)| other != name);
                }
                edit(&mut self.durable_names, name, *node);
            }
        }
        self.unsynced_names = later;
    }

    /// What is left. `seed` decides whatever is left to chance.
    pub fn after(&self, cut: Cut, seed: u64) -> Files {
        let mut dice = Dice::new(seed);
        let last_write = self.last_write();
        let names = self.names_after(cut, &mut dice);
        let mut files = Files::new();
        self.collect(ROOT, "", &names, &mut files, &mut |file| file.after(cut, last_write, &mut dice));
        files
    }

    fn names_after(&self, cut: Cut, dice: &mut Dice) -> BTreeMap<Name, NodeId> {
        if cut == Cut::Death {
            return self.names.clone();
        }
        let mut names = self.durable_names.clone();
        for change in &self.unsynced_names {
            let kept = match cut {
                Cut::Death | Cut::Torn => true,
                Cut::Dropped => false,
                Cut::Reordered => dice.is_even(),
            };
            if kept {
                change.edits.iter().for_each(|(name, node)| edit(&mut names, name, *node));
            }
        }
        names
    }

    fn last_write(&self) -> Option<usize> {
        let last = |node: &Node| match node {
            Node::Dir => None,
            Node::File(file) => file.unsynced.last().map(|change| change.number),
        };
        self.nodes.iter().filter_map(last).max()
    }

    fn collect(
        &self,
        dir: NodeId,
        path: &str,
        names: &BTreeMap<Name, NodeId>,
        files: &mut Files,
        bytes: &mut impl FnMut(&FileNode) -> Vec<u8>,
    ) {
        let entries = names.range((dir, String::new())..).take_while(|((d, _), _)| *d == dir);
        for ((_, name), node) in entries {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match &self.nodes[*node] {
                Node::Dir => {
                    files.insert(path.clone(), None);
                    self.collect(*node, &path, names, files, bytes);
                }
                Node::File(file) => drop(files.insert(path, Some(bytes(file)))),
            }
        }
    }
}

fn edit(names: &mut BTreeMap<Name, NodeId>, name: &Name, node: Option<NodeId>) {
    match node {
        Some(node) => names.insert(name.clone(), node),
        None => names.remove(name),
    };
}

fn apply(bytes: &mut Vec<u8>, data: &Data) {
    match data {
        Data::Wrote { offset, bytes: new } => apply_part(bytes, *offset, new),
        Data::SetLen(len) => bytes.resize(*len, 0),
    }
}

fn apply_part(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if !new.is_empty() {
        bytes.resize(bytes.len().max(offset + new.len()), 0);
        bytes[offset..offset + new.len()].copy_from_slice(new);
    }
}

/// A write of `len` bytes in pieces that end where blocks do, each with the number of its block.
fn parts(offset: usize, len: usize, block: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let blocks = if len == 0 { 0..0 } else { offset / block..(offset + len - 1) / block + 1 };
    blocks.map(move |at| {
        let begin = (at * block).max(offset) - offset;
        let end = ((at + 1) * block).min(offset + len) - offset;
        (begin..end, at)
    })
}

impl FileNode {
    fn sync(&mut self, failed: bool) {
        for change in &mut self.unsynced {
            match (change.fate, failed) {
                (Fate::Unsynced, true) => change.fate = Fate::GivenUp,
                (Fate::Unsynced, false) => {
                    apply(&mut self.durable, &change.data);
                    change.fate = Fate::Durable;
                }
                (Fate::GivenUp | Fate::Durable, _) => {}
            }
        }
        // What was given up is seen by the program as long as the machine lives, below what came later.
        if self.unsynced.iter().all(|change| change.fate == Fate::Durable) {
            self.unsynced.clear();
        }
    }

    fn after(&self, cut: Cut, last_write: Option<usize>, dice: &mut Dice) -> Vec<u8> {
        if cut == Cut::Reordered {
            return self.reordered(dice);
        }
        let mut bytes = self.durable.clone();
        for DataChange { number, data, fate } in &self.unsynced {
            match (cut, data) {
                _ if *fate == Fate::Durable => apply(&mut bytes, data),
                (Cut::Dropped, _) => {}
                (Cut::Torn, Data::Wrote { offset, bytes: new }) if Some(*number) == last_write => {
                    for (part, _) in parts(*offset, new.len(), SECTOR_BYTES) {
                        if dice.is_even() {
                            apply_part(&mut bytes, offset + part.start, &new[part]);
                        }
                    }
                }
                (Cut::Death | Cut::Torn | Cut::Reordered, _) => apply(&mut bytes, data),
            }
        }
        bytes
    }

    /// Two writes into one block without a sync between them reach the disk in their order, or the first alone, or
    /// neither; never the second alone, for the block is written as a whole.
    fn reordered(&self, dice: &mut Dice) -> Vec<u8> {
        let block = if dice.is_even() { SECTOR_BYTES } else { PAGE_BYTES };
        let mut kept = BTreeMap::<usize, usize>::new();
        for change in self.unsynced.iter().filter(|change| change.fate != Fate::Durable) {
            if let Data::Wrote { offset, bytes } = &change.data {
                parts(*offset, bytes.len(), block).for_each(|(_, at)| *kept.entry(at).or_default() += 1);
            }
        }
        kept.values_mut().for_each(|writes| *writes = dice.below(*writes + 1));
        let mut bytes = self.durable.clone();
        for DataChange { data, fate, .. } in &self.unsynced {
            match data {
                _ if *fate == Fate::Durable => apply(&mut bytes, data),
                Data::SetLen(_) => {
                    if dice.is_even() {
                        apply(&mut bytes, data);
                    }
                }
                Data::Wrote { offset, bytes: new } => {
                    for (part, at) in parts(*offset, new.len(), block) {
                        let left = kept.get_mut(&at).expect("every block was counted");
                        if *left > 0 {
                            *left -= 1;
                            apply_part(&mut bytes, offset + part.start, &new[part]);
                        }
                    }
                }
            }
        }
        bytes
    }
}

/// Chance that repeats itself.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn is_even(&mut self) -> bool {
        self.below(2) == 0
    }
    /// Below `n`, which is small.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// Writes files into a directory.
pub fn write(files: &Files, dir: &Path) {
    std::fs::create_dir_all(dir).expect("the directory is made");
    for (path, bytes) in files {
        let path = dir.join(path);
        match bytes {
            None => std::fs::create_dir(&path).expect("a directory is made"),
            Some(bytes) => std::fs::write(&path, bytes).expect("a file is written"),
        }
    }
}

/// Reads a directory.
pub fn read(dir: &Path) -> Files {
    let mut files = Files::new();
    read_into(dir, "", &mut files);
    files
}

fn read_into(dir: &Path, path: &str, files: &mut Files) {
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("names of the store are text");
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.path().is_dir() {
            files.insert(path.clone(), None);
            read_into(&entry.path(), &path, files);
        } else {
            files.insert(path, Some(std::fs::read(entry.path()).expect("read")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(what: Happened) -> Line {
        Line { what, is_change: true, failed: None }
    }

    fn opened(path: &str, fd: i32, made: bool) -> Line {
        happened(Happened::Opened { path: path.to_owned(), fd, made, emptied: false })
    }

    fn wrote(fd: i32, offset: usize, bytes: &[u8]) -> Line {
        happened(Happened::Wrote { fd, offset, bytes: bytes.to_vec() })
    }

    fn synced(fd: i32) -> Line {
        happened(Happened::Synced { fd })
    }

    fn image(lines: &[Line]) -> Image {
        let mut image = Image::new(Syncs::Honest);
        lines.iter().for_each(|line| image.advance(line));
        image
    }

    fn left(image: &Image, cut: Cut) -> Vec<(String, Vec<u8>)> {
        let files = image.after(cut, 1);
        files.into_iter().map(|(path, bytes)| (path, bytes.unwrap_or_default())).collect()
    }

    #[test]
    fn a_file_is_durable_when_it_and_its_directory_were_synced() {
        let (root, file) = (opened("", 3, false), [opened("a", 4, true), wrote(4, 0, b"new")]);
        let named = [vec![root], file.to_vec(), vec![synced(3)]].concat();
        assert_eq!(left(&image(&named[..3]), Cut::Dropped), []);
        assert_eq!(left(&image(&named), Cut::Dropped), [("a".to_owned(), Vec::new())]);
        let whole = [named, vec![synced(4)]].concat();
        assert_eq!(left(&image(&whole), Cut::Dropped), [("a".to_owned(), b"new".to_vec())]);
        assert_eq!(left(&image(&whole[..3]), Cut::Death), [("a".to_owned(), b"new".to_vec())]);
    }

    #[test]
    fn what_a_failed_sync_gave_up_is_not_durable_after_the_next_one() {
        let mut failed = synced(4);
        failed.failed = Some(5);
        let lines =
            [opened("", 3, false), opened("a", 4, true), synced(3), wrote(4, 0, b"old"), failed, synced(4)];
        assert_eq!(left(&image(&lines), Cut::Dropped), [("a".to_owned(), Vec::new())]);
        assert_eq!(left(&image(&lines), Cut::Death), [("a".to_owned(), b"old".to_vec())]);
        let again = [lines.to_vec(), vec![wrote(4, 0, b"new"), synced(4)]].concat();
        assert_eq!(left(&image(&again), Cut::Dropped), [("a".to_owned(), b"new".to_vec())]);
        assert_eq!(left(&image(&again), Cut::Death), [("a".to_owned(), b"new".to_vec())]);
    }

    #[test]
    fn a_rename_is_durable_with_the_directory_it_goes_to_and_is_never_half_done() {
        let made = [opened("", 3, false), opened("a", 4, true), wrote(4, 0, b"x"), synced(4), synced(3)];
        let renamed = happened(Happened::Renamed { from: "a".to_owned(), to: "b".to_owned() });
        let lines = [made.to_vec(), vec![renamed]].concat();
        for seed in 0..20 {
            let names: Vec<String> = image(&lines).after(Cut::Reordered, seed).into_keys().collect();
            assert!(names == ["a"] || names == ["b"], "{names:?}");
        }
        assert_eq!(left(&image(&lines), Cut::Dropped), [("a".to_owned(), b"x".to_vec())]);
        let synced = [lines, vec![synced(3)]].concat();
        assert_eq!(left(&image(&synced), Cut::Dropped), [("b".to_owned(), b"x".to_vec())]);
    }

    #[test]
    fn of_two_writes_into_one_block_the_second_is_never_there_alone() {
        let made = [opened("", 3, false), opened("a", 4, true), synced(3)];
        let lines = [made.to_vec(), vec![wrote(4, 0, b"1"), wrote(4, 1, b"2")]].concat();
        let mut seen: Vec<Vec<u8>> = (0..60)
            .filter_map(|seed| image(&lines).after(Cut::Reordered, seed).remove("a").flatten())
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [b"".to_vec(), b"1".to_vec(), b"12".to_vec()]);
    }
}
