//! Names looked up in any case, kept so close together that ten thousand of them fit a core's own cache.

use std::iter::successors;

use refractium_protocol::word;

/// Names in lower case and what each leads to, in the order said.
#[derive(Debug)]
pub(super) struct Names<T> {
    /// Where the names are, by their hash or, where that place is taken, at the next free one. A power of two or
    /// nothing, never full.
    slots: Vec<Slot>,
    /// The names, one behind the other.
    text: Vec<u8>,
    values: Vec<T>,
    /// For every value the next one of the same name, or [`NONE`].
    next: Vec<u32>,
    count: usize,
}

/// One name. Numbers of 32 bits keep it small: more names than they can count fit no configuration.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// A part of the hash that did not choose the place.
    tag: u32,
    start: u32,
    length: u32,
    /// Its first value, or [`NONE`]: the slot is free.
    value: u32,
}

const NONE: u32 = u32::MAX;
const FREE: Slot = Slot { tag: 0, start: 0, length: 0, value: NONE };

impl<T> Names<T> {
    /// Everything the name leads to.
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> impl Iterator<Item = &T> {
        let first = if self.slots.is_empty() { NONE } else { self.slot(name).value };
        let next = |at: &u32| self.next.get(*at as usize).copied();
        successors(Some(first), next).map_while(|at| self.values.get(at as usize))
    }

    /// Everything that any name leads to, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    /// Adds one more thing that the name leads to.
    pub(super) fn push(&mut self, name: &str, value: T) {
        let number = |count: usize| u32::try_from(count).unwrap_or(NONE);
        let added = number(self.values.len());
        let known = if self.slots.is_empty() { FREE } else { *self.slot(name.as_bytes()) };
        if known.value == NONE {
            let hash = hash(name.as_bytes());
            let (start, length) = (number(self.text.len()), number(name.len()));
            self.text.extend(name.as_bytes());
            self.place(hash, Slot { tag: tag(hash), start, length, value: added });
        } else {
            let last = successors(Some(known.value), |at| self.next.get(*at as usize).copied());
            if let Some(last) = last.take_while(|at| *at != NONE).last()
                && let Some(next) = self.next.get_mut(last as usize)
            {
                *next = added;
            }
        }
        self.values.push(value);
        self.next.push(NONE);
    }

    /// The slot of the name, or the free one where it would be; only if there are slots.
    #[inline(always)]
    fn slot(&self, name: &[u8]) -> &Slot {
        let hash = hash(name);
        let mut place = hash as usize;
        loop {
            match self.slots.get(place & (self.slots.len().wrapping_sub(1))) {
                Some(slot) if slot.value == NONE => return slot,
                Some(slot) if slot.tag == tag(hash) && self.is(slot, name) => return slot,
                Some(_) => place = place.wrapping_add(1),
                None => return &FREE,
            }
        }
    }

    #[inline]
    fn is(&self, slot: &Slot, name: &[u8]) -> bool {
        // Nearly all clients ask in lower case.
        self.name(slot).is_some_and(|it| it == name || word::eq_lower(name, it))
    }

    #[inline]
    fn name(&self, slot: &Slot) -> Option<&[u8]> {
        let behind = self.text.get(slot.start as usize..)?;
        behind.get(..slot.length as usize)
    }

    /// Puts a new name into its place, and before that makes room: at most two thirds are taken.
    fn place(&mut self, hash: u64, new: Slot) {
        self.count += 1;
        if self.count * 3 > self.slots.len() * 2 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![FREE; (2 * old.len()).max(4)];
            for slot in old.into_iter().filter(|slot| slot.value != NONE) {
                let again = self.name(&slot).map_or(0, self::hash);
                self.put(again, slot);
            }
        }
        self.put(hash, new);
    }

    fn put(&mut self, hash: u64, new: Slot) {
        let mask = self.slots.len().wrapping_sub(1);
        let places = successors(Some(hash as usize), |place| Some(place.wrapping_add(1)));
        for place in places.take(self.slots.len()) {
            if let Some(slot) = self.slots.get_mut(place & mask).filter(|it| it.value == NONE) {
                *slot = new;
                return;
            }
        }
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), text: Vec::new(), values: Vec::new(), next: Vec::new(), count: 0 }
    }
}

/// The same for a name in any case. Unkeyed, which is safe here: the keys come from the configuration, and a client
/// only looks them up.
#[inline]
fn hash(name: &[u8]) -> u64 {
    let (whole, last) = word::words(name);
    let mix = |hash: u64, word: u64| {
        // Takes case away, and from what is no letter a little too: that is settled when names are compared.
        let mixed = (hash ^ (word | word::all(b' '))).wrapping_mul(GOLDEN);
        mixed ^ mixed >> 32
    };
    mix(whole.fold(name.len() as u64, mix), last)
}

/// 2^64 divided by the golden ratio: its multiples are spread evenly (Knuth, volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'n>(names: &'n Names<i32>, name: &[u8]) -> Vec<&'n i32> {
        names.get(name).collect()
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let mut names = Names::default();
        names.push("other.example", 1);
        // The other name takes the place and the tag of this one.
        let other = *names.slots.iter().find(|slot| slot.value != NONE).expect("a slot");
        let hash = hash(b"a.example");
        names.slots.fill(FREE);
        names.put(hash, Slot { tag: tag(hash), ..other });
        names.push("a.example", 2);
        assert_eq!(all(&names, b"A.example"), [&2]);
        assert_eq!(all(&names, b"b.example"), [&0; 0]);
    }

    #[test]
    fn what_a_name_leads_to_is_in_the_order_said() {
        let mut names = Names::default();
        assert_eq!(all(&names, b"a"), [&0; 0]);
        for (name, value) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
            names.push(name, value);
        }
        assert_eq!(all(&names, b"A"), [&1, &3, &4]);
        assert_eq!(all(&names, b"b"), [&2]);
    }

    #[test]
    fn many_names_are_all_found() {
        let mut names = Names::default();
        for value in 0..1_000 {
            names.push(&format!("host-{value}.example"), value);
        }
        for value in 0..1_000 {
            assert_eq!(all(&names, format!("HOST-{value}.example").as_bytes()), [&value]);
        }
        assert_eq!(all(&names, b"host-1000.example"), [&0; 0]);
        assert_eq!(names.values().count(), 1_000);
    }
}
