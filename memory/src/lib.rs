//! The allocator of the gateway: mimalloc, of which the compiler knows that it answers.
//!
//! A future that is boxed is made on the stack and copied to the heap: the compiler has to keep it
//! where it is, since it would have to be dropped if there were no memory and the report of that
//! unwound. Pingora's future of a request has 13 KB, all of which is copied, though it holds some
//! hundred bytes when it is boxed. Here the process ends on the spot where there is no memory, as
//! it does anyway a moment later ([`handle_alloc_error`]), and futures are made where they stay.
//!
//! What the C library promises is what is relied on: memory of `mi_malloc` is aligned to 16 bytes,
//! and to 8 where less is asked for (`mi_malloc_is_naturally_aligned` in its sources).

use std::alloc::{GlobalAlloc, Layout, handle_alloc_error};
use std::ffi::c_void;

use libmimalloc_sys as mi;

/// The alignment that `mi_malloc` gives to whatever is not smaller than that, in bytes.
const NATURAL: usize = 16;

/// From so many bytes on, "there is none" is an answer that callers get: who asks for so much at
/// once may be prepared for it (`Vec::try_reserve`). The compiler is told nothing then.
const LARGE: usize = 1024 * 1024;

/// mimalloc, which ends the process when it has no memory for something smaller than 1 MiB.
///
/// ```
/// #[global_allocator]
/// static MEMORY: tidegate_memory::Memory = tidegate_memory::Memory;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

/// Whether memory of that layout needs no word of its alignment.
#[inline]
const fn is_natural(size: usize, align: usize) -> bool {
    align <= NATURAL && align <= size
}

/// What was allocated; the end of the process where it is nothing, and smaller than [`LARGE`].
#[inline]
fn present(memory: *mut c_void, size: usize, align: usize) -> *mut u8 {
    if memory.is_null() && size < LARGE {
        exhausted(size, align);
    }
    memory.cast()
}

/// Says how much was asked for, and ends the process.
///
/// With a calling convention that does not unwind: neither may an allocator, nor would the
/// compiler be relieved of what it keeps ready for that case.
#[cold]
#[inline(never)]
extern "C" fn exhausted(size: usize, align: usize) -> ! {
    match Layout::from_size_align(size, align) {
        Ok(layout) => handle_alloc_error(layout),
        Err(_) => std::process::abort(),
    }
}

// SAFETY: memory comes from mimalloc alone and goes back to it alone; it is as large as asked for,
// and aligned by itself where `is_natural` says so, by request elsewhere. Nothing here unwinds.
unsafe impl GlobalAlloc for Memory {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let memory = if is_natural(size, align) {
            // SAFETY: any size may be asked for.
            unsafe { mi::mi_malloc(size) }
        } else {
            // SAFETY: the alignment of a layout is a power of two.
            unsafe { mi::mi_malloc_aligned(size, align) }
        };
        present(memory, size, align)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let memory = if is_natural(size, align) {
            // SAFETY: any size may be asked for.
            unsafe { mi::mi_zalloc(size) }
        } else {
            // SAFETY: the alignment of a layout is a power of two.
            unsafe { mi::mi_zalloc_aligned(size, align) }
        };
        present(memory, size, align)
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the caller vows that it is from here, and is not used any more.
        unsafe { mi::mi_free(memory.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        let memory = if is_natural(size, align) {
            // SAFETY: the caller vows that it is from here. Where it is moved, it is to what
            // `mi_malloc` gives.
            unsafe { mi::mi_realloc(memory.cast(), size) }
        } else {
            // SAFETY: as before, and the alignment of a layout is a power of two.
            unsafe { mi::mi_realloc_aligned(memory.cast(), size, align) }
        };
        present(memory, size, align)
    }
}
