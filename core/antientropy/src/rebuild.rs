//! A tree that is read anew after a start, while changes go on.
//!
//! ```text
//!  keys   ├──── read: changes count ────┤──── not yet: changes will be read ────┤
//!                                 reading point
//! ```
//!
//! Until the point has come to the end the tree has no [total](Tree::total), and asks and
//! answers nothing: a half that agrees is no agreement.

use crate::level::Level;
use crate::range::is_read_of;
use crate::tree::LEAF_STRENGTH;
use crate::{Items, KeyRange, Salt, Summary, Tree, TreeKey};

/// How far a tree has been read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reading<K> {
    /// To the end.
    Whole,
    /// All keys below this one, and none without one.
    UpTo(Option<K>),
}

impl<K: TreeKey> Reading<K> {
    pub(crate) fn has_passed(&self, key: &K) -> bool {
        match self {
            Self::Whole => true,
            Self::UpTo(point) => point.as_ref().is_some_and(|point| key < point),
        }
    }

    /// The least key that has not been read, if there is one and anything was read.
    pub(crate) fn point(&self) -> Option<K> {
        match self {
            Self::Whole => None,
            Self::UpTo(point) => point.clone(),
        }
    }
}

/// How far the rebuilding of a tree has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress<K> {
    /// The tree is whole.
    Whole,
    /// The keys from here on are still to be read; all of them without one.
    Reading {
        /// The reading point.
        from: Option<K>,
        /// How many keys below it are held. What remains is what the store holds less this.
        read: u64,
    },
}

impl<K: TreeKey> Tree<K> {
    /// A tree of which nothing has been read, to be made whole by
    /// [`read_on`](Self::read_on).
    pub fn unread(salt: Salt) -> Self {
        Self { reading: Reading::UpTo(None), ..Self::new(salt) }
    }

    /// Whether everything has been read.
    pub fn is_whole(&self) -> bool {
        self.reading == Reading::Whole
    }

    /// How far it has been read.
    pub fn progress(&self) -> Progress<K> {
        match &self.reading {
            Reading::Whole => Progress::Whole,
            Reading::UpTo(from) => Progress::Reading { from: from.clone(), read: self.all.count },
        }
    }

    /// Reads on, by so many keys (at least one).
    ///
    /// # Errors
    ///
    /// That of the store. Nothing has changed.
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn read_on<S: Items<K>>(
        &mut self,
        store: &S,
        items_max: usize,
    ) -> Result<Progress<K>, S::Error> {
        let Reading::UpTo(from) = &self.reading else { return Ok(Progress::Whole) };
        let rest = KeyRange { from: from.clone(), to: None };
        // One more, which is not taken in, and becomes the reading point.
        let items_max = items_max.max(1);
        let mut items = store.read(&rest, items_max.saturating_add(1))?;
        assert!(is_read_of(&rest, &items), "a store reads in order, and what it is asked for");
        let next = if items.len() > items_max { items.pop() } else { None };
        for (key, digest) in &items {
            self.append(key, Summary { count: 1, sum: self.salt.item(key, *digest) });
        }
        self.reading = next.map_or(Reading::Whole, |(key, _)| Reading::UpTo(Some(key)));
        Ok(self.progress())
    }

    /// Takes in a key above all others.
    fn append(&mut self, key: &K, item: Summary) {
        let strength = self.salt.strength(key);
        if strength >= LEAF_STRENGTH {
            self.cut_at(key, Summary::default());
        }
        self.all = self.all.plus(item);
        for level in &mut self.levels {
            let last: &mut Summary = Level::last_mut(level);
            *last = last.plus(item);
        }
    }
}
