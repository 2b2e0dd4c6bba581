//! Who is told when a reload begins and ends: a service manager, on behalf of which the process
//! runs, waits for both.

use std::sync::OnceLock;

/// A step of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The file is about to be read.
    Begins,
    /// What is in force now was decided: the file's configuration, or the one before it.
    Ends,
}

type Listener = Box<dyn Fn(Reload) + Send + Sync>;

/// The one who is told, if there is one.
#[derive(Default)]
pub struct Reloads {
    listener: OnceLock<Listener>,
}

impl Reloads {
    /// Tells `listener` from here on. There is one; a second is not told.
    pub fn tell(&self, listener: impl Fn(Reload) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// A reload begins; it ends when what is returned is dropped, even by a panic: whoever waits
    /// for the end must not wait for ever.
    pub(super) fn begin(&self) -> Telling<'_> {
        self.say(Reload::Begins);
        Telling(self)
    }

    fn say(&self, reload: Reload) {
        if let Some(listener) = self.listener.get() {
            listener(reload);
        }
    }
}

/// A reload that has begun.
pub(super) struct Telling<'a>(&'a Reloads);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.say(Reload::Ends);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn both_steps_are_told_even_when_a_reload_panics() {
        let reloads = Reloads::default();
        drop(reloads.begin());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ours = Arc::clone(&heard);
        reloads.tell(move |reload| ours.lock().push(reload));
        let panics = std::panic::AssertUnwindSafe(|| {
            let _telling = reloads.begin();
            std::panic::resume_unwind(Box::new("a defect"));
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(*heard.lock(), [Reload::Begins, Reload::Ends]);
    }
}
