//! The whole state as one ordered map per tree: the overlay over the view.
//!
//! It deliberately does not know what keys mean, nor who writes. A read sees everything that was acknowledged
//! before it began. A range may be read while it changes; what does not change is seen exactly once.

use super::error::StoreError;
use super::keys::Tree;
use super::overlay::{Layer, Overlay};
use super::view::{Direction, Pair, View, ViewError};
use crate::domain::Text;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How many entries of one layer are looked at in one go, at most.
const CHUNK: usize = 256;
/// How many at first, where little is asked for: many questions are for the first of a range, and every entry that is
/// looked at costs a copy of its key and a place in the reading of the view.
const CHUNK_FIRST: usize = 16;

/// What several layers together say of some keys; `None` = the key is not there.
type Merged = BTreeMap<Vec<u8>, Option<Bytes>>;

/// Where a range begins and ends.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub from: Bound<Vec<u8>>,
    pub to: Bound<Vec<u8>>,
    pub direction: Direction,
}

impl Range {
    /// Everything.
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded, direction: Direction::Forward }
    }
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let to = super::keys::prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { from: Bound::Included(prefix.to_vec()), to, direction: Direction::Forward }
    }
    /// Everything after `key`, or everything.
    pub fn after(key: Option<Vec<u8>>) -> Self {
        Self { from: key.map_or(Bound::Unbounded, Bound::Excluded), ..Self::all() }
    }
    /// The same, from its end.
    pub fn backward(self) -> Self {
        Self { direction: Direction::Backward, ..self }
    }

    fn is_before(&self, key: &[u8], other: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => key < other,
            Direction::Backward => key > other,
        }
    }

    /// Goes on behind `key`.
    fn skip_to(&mut self, key: Vec<u8>) {
        match self.direction {
            Direction::Forward => self.from = Bound::Excluded(key),
            Direction::Backward => self.to = Bound::Excluded(key),
        }
    }

    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice))
    }

    fn is_empty(&self) -> bool {
        match self.bounds() {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b) | Bound::Included(b)) => a >= b,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

/// Whether the view is there.
enum Presence {
    Open(Arc<View>),
    Away(Text),
}

/// Overlay and view.
pub(super) struct State {
    overlay: RwLock<Overlay>,
    view: RwLock<Presence>,
    /// What the view last failed with, until the applier has dealt with it.
    trouble: Mutex<Option<ViewError>>,
}

impl State {
    pub fn new(view: Arc<View>, overlay: Overlay) -> Self {
        Self {
            overlay: RwLock::new(overlay),
            view: RwLock::new(Presence::Open(view)),
            trouble: Mutex::new(None),
        }
    }

    pub fn overlay(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn overlay_mut(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view, if it is there.
    pub fn view(&self) -> Result<Arc<View>, StoreError> {
        match &*self.view.read().unwrap_or_else(PoisonError::into_inner) {
            Presence::Open(view) => Ok(Arc::clone(view)),
            Presence::Away(reason) => Err(StoreError::Unavailable { reason: reason.clone() }),
        }
    }

    /// Takes the view away, for this reason; the last user of the old one closes it.
    pub fn take_view(&self, reason: Text) -> Option<Arc<View>> {
        let mut presence = self.view.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *presence, Presence::Away(reason)) {
            Presence::Open(view) => Some(view),
            Presence::Away(_) => None,
        }
    }

    /// Brings a view back.
    pub fn give_view(&self, view: Arc<View>) {
        *self.trouble() = None;
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Presence::Open(view);
    }

    fn trouble(&self) -> MutexGuard<'_, Option<ViewError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the view failed with, if nobody has dealt with it yet.
    pub fn view_trouble(&self) -> Option<ViewError> {
        self.trouble().clone()
    }

    /// Notes that the view failed; the applier will see to it.
    pub fn view_failed(&self, error: ViewError) -> StoreError {
        let reason = Text::new(
            format!("Представление данных открывается заново после ошибки: {error}. Повторите чуть позже."),
            format!("The view is being opened again after an error: {error}. Try again shortly."),
        );
        self.trouble().get_or_insert(error);
        StoreError::Unavailable { reason }
    }

    /// What the overlay alone says of the key: `Some(None)` = it is certainly not there, `None` = ask the view.
    pub fn peek(&self, tree: Tree, key: &[u8]) -> Option<Option<Bytes>> {
        self.overlay().get(tree, key).map(|slot| slot.value.clone())
    }

    /// The value of a key. Blocking.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(known) = self.peek(tree, key) {
            return Ok(known);
        }
        self.view()?.get(tree, key).map_err(|e| self.view_failed(e))
    }

    /// Up to `limit` pairs of a range, with `staged` on top of everything if given. Blocking.
    pub fn range(
        &self,
        staged: Option<&Layer>,
        tree: Tree,
        mut range: Range,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let mut found = Vec::new();
        let mut chunk = limit.clamp(CHUNK_FIRST, CHUNK);
        while !range.is_empty() {
            let (mut merged, mut horizon) = self.upper_part(staged, tree, &range, chunk);
            chunk = (chunk * 4).min(CHUNK);
            let view = self.view()?;
            let want = limit - found.len() + merged.len() + 1;
            let below = view.scan(tree, narrowed(&range, horizon.as_ref()).bounds(), range.direction, want);
            let below = below.map_err(|e| self.view_failed(e))?;
            if below.len() == want {
                horizon = below.last().map(|(key, _)| key.clone());
            }
            for (key, value) in below {
                merged.entry(key).or_insert(Some(value));
            }
            collect(&mut found, merged, horizon.as_ref(), &range, limit);
            match horizon {
                Some(horizon) if found.len() < limit => range.skip_to(horizon),
                Some(_) | None => break,
            }
        }
        Ok(found)
    }

    /// Gives every key of an index to `visit`, in no order. For when nothing changes. Blocking.
    pub fn each_small(&self, tree: Tree, visit: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let overlay = self.overlay();
        for (place, layer) in overlay.layers().enumerate() {
            for (key, slot) in layer.tree(tree) {
                let is_hidden = overlay.layers().take(place).any(|above| above.get(tree, key).is_some());
                if slot.value.is_some() && !is_hidden {
                    visit(key);
                }
            }
        }
        let below = |key: &[u8], _: &[u8]| {
            if overlay.get(tree, key).is_none() {
                visit(key)
            }
        };
        self.view()?.each_small(tree, &mut { below }).map_err(|e| self.view_failed(e))
    }

    /// What the layers say of the beginning of the range, and how far that goes (`None` = to its end).
    ///
    /// Looks at up to `chunk` entries of each layer.
    fn upper_part(
        &self,
        staged: Option<&Layer>,
        tree: Tree,
        range: &Range,
        chunk: usize,
    ) -> (Merged, Option<Vec<u8>>) {
        let mut merged = BTreeMap::new();
        let mut horizon: Option<Vec<u8>> = None;
        let overlay = self.overlay();
        for layer in staged.into_iter().chain(overlay.layers()) {
            let (from, to) = range.bounds();
            let entries = layer.range(tree, from, to);
            let entries: Vec<_> = match range.direction {
                Direction::Forward => entries.take(chunk).collect(),
                Direction::Backward => entries.rev().take(chunk).collect(),
            };
            if entries.len() == chunk
                && let Some((last, _)) = entries.last()
                && horizon.as_ref().is_none_or(|h| range.is_before(last, h))
            {
                horizon = Some((*last).clone());
            }
            for (key, slot) in entries {
                merged.entry(key.clone()).or_insert_with(|| slot.value.clone());
            }
        }
        (merged, horizon)
    }
}

/// The range up to the horizon, the horizon with it.
fn narrowed(range: &Range, horizon: Option<&Vec<u8>>) -> Range {
    let mut range = range.clone();
    if let Some(horizon) = horizon {
        match range.direction {
            Direction::Forward => range.to = Bound::Included(horizon.clone()),
            Direction::Backward => range.from = Bound::Included(horizon.clone()),
        }
    }
    range
}

fn collect(found: &mut Vec<Pair>, merged: Merged, horizon: Option<&Vec<u8>>, range: &Range, limit: usize) {
    let within = |key: &Vec<u8>| horizon.is_none_or(|h| !range.is_before(h, key));
    let present =
        merged.into_iter().filter(|(key, _)| within(key)).filter_map(|(key, value)| Some((key, value?)));
    let room = limit - found.len();
    match range.direction {
        Direction::Forward => found.extend(present.take(room)),
        Direction::Backward => found.extend(present.rev().take(room)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::overlay::{Below, Carry};
    use super::*;
    use proptest::prelude::*;

    /// A state whose three layers and view were filled at random, and what it should look like.
    fn filled(changes: &[(u8, u16, bool)]) -> (tempfile::TempDir, State, Layer, BTreeMap<Vec<u8>, Bytes>) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let view = View::open(dir.path(), 1 << 20).expect("a fresh view opens");
        let mut layers: Vec<Layer> = (0..4).map(|_| Layer::default()).collect();
        let mut model = BTreeMap::new();
        for place in 0..4u8 {
            for (_, key, present) in changes.iter().filter(|(p, _, _)| p % 4 == place) {
                let key = key.to_be_bytes().to_vec();
                let value = present.then(|| Bytes::from(vec![place; 3]));
                match &value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(&key),
                };
                layers[usize::from(place)].set(Tree::Timer, key, value, Below::Maybe);
            }
        }
        let staged = layers.pop().expect("four layers");
        view.apply(&layers[0]).expect("applied");
        let mut overlay = Overlay::default();
        for layer in &layers[1..] {
            overlay.take(Carry::All);
            for (key, slot) in layer.tree(Tree::Timer) {
                overlay.set(Tree::Timer, key.clone(), slot.value.clone(), Below::Maybe);
            }
        }
        (dir, State::new(Arc::new(view), overlay), staged, model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_range_over_all_layers_is_what_one_map_would_give(
            changes in proptest::collection::vec((any::<u8>(), 0u16..1500, any::<bool>()), 0..1500),
            from in 0u16..1500, width in 0u16..1500, limit in 1usize..900, backward in any::<bool>(),
        ) {
            let (_dir, state, staged, model) = filled(&changes);
            let to = from.saturating_add(width);
            let mut range = Range {
                from: Bound::Included(from.to_be_bytes().to_vec()),
                to: Bound::Excluded(to.to_be_bytes().to_vec()),
                direction: Direction::Forward,
            };
            let all = model.range(from.to_be_bytes().to_vec()..to.to_be_bytes().to_vec());
            let all: Vec<Pair> = all.map(|(k, v)| (k.clone(), v.clone())).collect();
            let expected: Vec<Pair> = if backward {
                range = range.backward();
                all.into_iter().rev().take(limit).collect()
            } else {
                all.into_iter().take(limit).collect()
            };
            prop_assert_eq!(state.range(Some(&staged), Tree::Timer, range, limit).expect("read"), expected);
        }
    }
}
