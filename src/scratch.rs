//! Room that a thread lends for the length of one poll, so that a waiting connection holds no buffer.

use std::cell::RefCell;

use refractium_protocol::Scratch;

use crate::udp::Batch;

/// 64 KiB: a read this large costs hardly more than a small one, and fewer are needed.
pub(crate) const SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into());
    static FACTS: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Lends the thread's read buffer.
pub(crate) fn with_buffer<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| use_it(buffer))
}

/// Lends the thread's room for putting an opening's pieces together.
pub(crate) fn with_facts<T>(use_it: impl FnOnce(&mut Scratch) -> T) -> T {
    FACTS.with(|room| match room.try_borrow_mut() {
        Ok(mut room) => use_it(&mut room),
        // A protocol of the embedder's, or an observer, asks for facts while it is asked for facts.
        Err(_) => use_it(&mut Scratch::new()),
    })
}

/// Lends the thread's room for datagrams: what one receive brings, and room to put some of them side by side. It is taken
/// when a thread first serves UDP, and used only as far as bursts are long.
pub(crate) fn with_datagrams<T>(use_it: impl FnOnce(&mut Batch, &mut Vec<u8>) -> T) -> T {
    thread_local! {
        static ROOM: RefCell<(Batch, Vec<u8>)> = RefCell::new((Batch::new(), Vec::new()));
    }
    ROOM.with_borrow_mut(|(batch, gathered)| use_it(batch, gathered))
}
