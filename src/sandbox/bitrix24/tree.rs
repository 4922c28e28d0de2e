//! The portal's Drive: one storage, folders and files in it, kept in memory.
//!
//! Knows nothing of REST. Ids come from one counter for folders and files together, as on a portal, so that
//! "newer" and "greater id" are the same.
//!
//! Invariants: live children of a folder have different names; a node is never removed, only marked deleted.

use crate::domain::FileDigest;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The only storage. Its id differs from the id of its root folder, as on a portal.
pub(crate) const STORAGE_ID: u64 = 3;
/// The root folder of the storage.
pub(crate) const ROOT_ID: u64 = 8990;

/// A folder or a file.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) name: String,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) created_by: u64,
    pub(crate) deleted_ms: Option<i64>,
    /// None for a folder.
    pub(crate) content: Option<Content>,
}

/// What is in a file.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) digest: FileDigest,
    /// Id in the portal's file table: another number than the Drive id.
    pub(crate) file_id: u64,
}

/// What to do about a name that a live neighbour has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTaken {
    /// Refuse the new file.
    Refuse,
    /// Number it: `name (1).pdf`.
    Number,
}

/// Why a node was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotMade {
    NoFolder,
    NameTaken,
}

/// The folder of what is attached to comments and generated: it is in no folder, so no list shows it.
const ATTACHMENTS_ID: u64 = 8991;
/// Its parent, which is nobody's id.
const NOWHERE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next_id: u64,
}

impl Tree {
    pub(crate) fn new(now_ms: i64) -> Self {
        let root = Node {
            id: ROOT_ID,
            parent: 0,
            name: "Общий диск".into(),
            created_ms: now_ms,
            updated_ms: now_ms,
            created_by: 1,
            deleted_ms: None,
            content: None,
        };
        Self { nodes: BTreeMap::from([(ROOT_ID, root)]), next_id: ROOT_ID + 6 }
    }

    pub(crate) fn node(&self, id: u64) -> Option<&Node> {
        self.nodes.get(&id)
    }
    /// A folder that is not deleted.
    pub(crate) fn folder(&self, id: u64) -> Option<&Node> {
        self.node(id).filter(|n| n.content.is_none() && n.deleted_ms.is_none())
    }
    /// A file, deleted or not.
    pub(crate) fn file(&self, id: u64) -> Option<(&Node, &Content)> {
        let node = self.node(id)?;
        node.content.as_ref().map(|content| (node, content))
    }
    /// Live children of a folder, by id.
    pub(crate) fn children(&self, folder: u64) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |n| n.parent == folder && n.deleted_ms.is_none())
    }
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|n| n.content.is_none() && n.deleted_ms.is_none() && n.parent != NOWHERE)
    }
    /// The folder of what is attached to comments and generated.
    pub(crate) fn attachments(&mut self) -> u64 {
        if let Some(root) = self.node(ROOT_ID).cloned() {
            let folder =
                Node { id: ATTACHMENTS_ID, parent: NOWHERE, name: "Вложения".into(), ..root };
            self.nodes.entry(ATTACHMENTS_ID).or_insert(folder);
        }
        ATTACHMENTS_ID
    }

    pub(crate) fn add_folder(
        &mut self,
        parent: u64,
        name: &str,
        by: u64,
        now_ms: i64,
    ) -> Result<u64, NotMade> {
        self.add(parent, name, None, by, now_ms, OnTaken::Refuse)
    }

    pub(crate) fn add_file(
        &mut self,
        parent: u64,
        name: &str,
        bytes: Bytes,
        by: u64,
        now_ms: i64,
        on_taken: OnTaken,
    ) -> Result<u64, NotMade> {
        let digest = digest_of(&bytes);
        // The file table counts by itself; an offset keeps the two ids apart.
        let content = Content { bytes, digest, file_id: self.next_id - ROOT_ID + 70_000 };
        self.add(parent, name, Some(content), by, now_ms, on_taken)
    }

    fn add(
        &mut self,
        parent: u64,
        name: &str,
        content: Option<Content>,
        by: u64,
        now_ms: i64,
        on_taken: OnTaken,
    ) -> Result<u64, NotMade> {
        if self.folder(parent).is_none() {
            return Err(NotMade::NoFolder);
        }
        let name = match (self.taken(parent, name), on_taken) {
            (false, _) => name.to_owned(),
            (true, OnTaken::Refuse) => return Err(NotMade::NameTaken),
            (true, OnTaken::Number) => self.numbered(parent, name),
        };
        let id = self.next_id;
        self.next_id += 1;
        let node = Node {
            id,
            parent,
            name,
            created_ms: now_ms,
            updated_ms: now_ms,
            created_by: by,
            deleted_ms: None,
            content,
        };
        self.nodes.insert(id, node);
        Ok(id)
    }

    /// Marks a node deleted; its name is free again. `false` if there is no such live node.
    pub(crate) fn mark_deleted(&mut self, id: u64, now_ms: i64) -> bool {
        match self.nodes.get_mut(&id) {
            Some(node) if node.deleted_ms.is_none() && id != ROOT_ID => {
                node.deleted_ms = Some(now_ms);
                true
            }
            _ => false,
        }
    }

    fn taken(&self, parent: u64, name: &str) -> bool {
        self.children(parent).any(|n| n.name == name)
    }

    fn numbered(&self, parent: u64, name: &str) -> String {
        let (stem, extension) = match name.rfind('.') {
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name, ""),
        };
        (1..)
            .map(|n| format!("{stem} ({n}){extension}"))
            .find(|candidate| !self.taken(parent, candidate))
            .unwrap_or_else(|| name.to_owned())
    }
}

pub(crate) fn digest_of(bytes: &[u8]) -> FileDigest {
    FileDigest(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_refused_or_numbered_and_is_free_again_after_deletion() {
        let mut tree = Tree::new(0);
        let put = |tree: &mut Tree, on_taken| tree.add_file(ROOT_ID, "a.pdf", Bytes::new(), 1, 0, on_taken);
        let first = put(&mut tree, OnTaken::Refuse).expect("the name is free");
        assert_eq!(put(&mut tree, OnTaken::Refuse), Err(NotMade::NameTaken));
        let second = put(&mut tree, OnTaken::Number).expect("a number makes it free");
        assert_eq!(tree.node(second).map(|n| n.name.as_str()), Some("a (1).pdf"));
        assert!(tree.mark_deleted(first, 1));
        assert!(put(&mut tree, OnTaken::Refuse).is_ok());
    }
}
