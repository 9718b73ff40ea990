//! A cache for values that are read often and computed once. Many threads read at the same time.
//! When a value is missing, one of those who ask computes it and the others wait for it; meanwhile
//! all other keys can be read and computed. A computation that fails or panics leaves nothing
//! behind: the next one who waits tries for itself.
//!
//! Nothing is ever thrown out by itself, as in Python's `functools.cache`. A computation may ask
//! for other keys, but must not wait for its own: that would wait for ever.
//!
//! To take it along, copy this file and `sync.rs`, or replace `super::sync` below by `std::sync`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use super::sync::{Mutex, RwLock, RwLockWriteGuard};

pub struct Cache<K, V> {
    /// This lock is held to find a slot, never to compute or to read a value.
    slots: RwLock<HashMap<K, Arc<Slot<V>>>>,
}

/// What belongs to one key.
struct Slot<V> {
    /// Whoever holds it may compute the value.
    turn: Mutex<()>,
    /// Written only by who holds `turn`, and only for the moment in which the value is put in.
    value: RwLock<Option<V>>,
}

impl<K: Eq + Hash + Clone, V> Cache<K, V> {
    pub fn new() -> Self {
        Self {
            slots: RwLock::new(HashMap::new()),
        }
    }

    /// Reads the value of `key`, which `compute` makes if nobody has so far. The value itself stays
    /// in the cache: `read` may take its time, others read beside it.
    pub fn read_or_compute<R, E>(
        &self,
        key: &K,
        compute: impl FnOnce() -> Result<V, E>,
        read: impl FnOnce(&V) -> R,
    ) -> Result<R, E> {
        let slot = self.slot(key);
        if let Some(value) = &*slot.value.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(read(value));
        }
        // A poisoned turn is a computation that panicked: it has left nothing behind.
        let turn = slot.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Look again: while we waited for our turn, the one before us may have put the value in.
        let found = slot.value.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*found {
            drop(turn); // The next one need not wait until we have read.
            return Ok(read(value));
        }
        drop(found);
        let value = compute()?;
        Ok(slot.put_and_read(value, turn, read))
    }

    /// A copy of the value of `key`, which `compute` makes if nobody has so far. For large values
    /// let `V` be an `Arc`, or use `read_or_compute`.
    pub fn get_or_compute<E>(&self, key: &K, compute: impl FnOnce() -> Result<V, E>) -> Result<V, E>
    where
        V: Clone,
    {
        self.read_or_compute(key, compute, V::clone)
    }

    /// Computes the value of `key` anew and reads it. Until it is there, others read the old one;
    /// so they do for ever if `compute` fails.
    pub fn refresh<R, E>(
        &self,
        key: &K,
        compute: impl FnOnce() -> Result<V, E>,
        read: impl FnOnce(&V) -> R,
    ) -> Result<R, E> {
        let slot = self.slot(key);
        let turn = slot.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let value = compute()?;
        Ok(slot.put_and_read(value, turn, read))
    }

    /// A copy of the value if it is there. Never waits for a computation.
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(slots.get(key)?);
        drop(slots);
        let value = slot.value.read().unwrap_or_else(PoisonError::into_inner);
        value.clone()
    }

    /// Whoever asks from now on gets a value computed from now on. One that is being computed right
    /// now goes to those who wait for it already, and to nobody else.
    pub fn remove(&self, key: &K) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let removed = slots.remove(key);
        drop(slots);
        drop(removed); // Dropping a large value takes its time, and now nobody waits for it.
    }

    fn slot(&self, key: &K) -> Arc<Slot<V>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        drop(slots);
        // `entry`, because another thread may have been faster between the two locks.
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(key.clone()).or_insert_with(|| {
            Arc::new(Slot {
                turn: Mutex::new(()),
                value: RwLock::new(None),
            })
        });
        Arc::clone(slot)
    }
}

impl<V> Slot<V> {
    fn put_and_read<R>(&self, value: V, turn: impl Sized, read: impl FnOnce(&V) -> R) -> R {
        let mut place = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let old = place.replace(value);
        drop(turn);
        // From writer to reader in one step: all others may read, too, and yet nobody can write in
        // between. So what we read is what we have computed, not what another one refreshed since.
        let place = RwLockWriteGuard::downgrade(place);
        drop(old);
        read(place.as_ref().expect("it was put in above"))
    }
}
