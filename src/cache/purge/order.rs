//! One purge: which tags, and how hard.

use smallvec::SmallVec;

use super::tag::Tag;

/// Most tags of one order: what is told to other nodes at once.
pub(super) const ORDER_TAGS_MAX: usize = 32;

/// One purge: entries with any of these tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// Up to [`ORDER_TAGS_MAX`].
    pub(super) tags: SmallVec<[Tag; 4]>,
    /// Whether entries only become stale, instead of being gone.
    pub(super) soft: bool,
}

/// Tags gathered for orders.
#[derive(Debug, Default)]
pub struct Tagged(SmallVec<[Tag; 4]>);

impl Tagged {
    /// Adds a tag, once.
    pub fn add(&mut self, tag: Tag) {
        if !self.0.contains(&tag) {
            self.0.push(tag);
        }
    }

    /// Orders after which entries with these tags are gone.
    #[must_use]
    pub fn hard(self) -> SmallVec<[Order; 1]> {
        self.orders(false)
    }

    /// Orders after which entries with these tags are stale.
    #[must_use]
    pub fn soft(self) -> SmallVec<[Order; 1]> {
        self.orders(true)
    }

    fn orders(self, soft: bool) -> SmallVec<[Order; 1]> {
        let order = |tags: &[Tag]| Order { tags: tags.into(), soft };
        self.0.chunks(ORDER_TAGS_MAX).map(order).collect()
    }
}

impl Order {
    /// As it is told to other nodes, with a name that makes it one order however often it is
    /// told: `NODE.NUMBER h TAG...`, all numbers hexadecimal.
    pub(super) fn message(&self, node: u64, number: u64) -> String {
        use std::fmt::Write;
        let kind = if self.soft { 's' } else { 'h' };
        let mut text = format!("{node:016x}.{number:x} {kind} ");
        for tag in &self.tags {
            // Writing into a string cannot fail.
            let _ = write!(text, "{:016x}", tag.0);
        }
        text
    }

    /// What a node has told; none where this version does not understand it.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut words = text.split(' ');
        let (node, number) = words.next()?.split_once('.')?;
        if node.len() != 16 || !is_hex(node) || number.is_empty() || !is_hex(number) {
            return None;
        }
        let soft = match words.next()? {
            "h" => false,
            "s" => true,
            _ => return None,
        };
        let tags = words.next().filter(|tags| !tags.is_empty() && is_hex(tags))?;
        let whole = tags.len().is_multiple_of(16) && tags.len() / 16 <= ORDER_TAGS_MAX;
        if words.next().is_some() || !whole {
            return None;
        }
        let tag = |hex: &[u8]| {
            let hex = std::str::from_utf8(hex).ok()?;
            Some(Tag(u64::from_str_radix(hex, 16).ok()?))
        };
        Some(Self { tags: tags.as_bytes().chunks(16).map(tag).collect::<Option<_>>()?, soft })
    }
}

/// Lower case, as it is written here: nothing has two spellings.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_hold_so_many_tags_and_no_tag_twice() {
        let mut tagged = Tagged::default();
        for n in 0..=ORDER_TAGS_MAX as u64 {
            tagged.add(Tag(n));
            tagged.add(Tag(n));
        }
        let lengths: Vec<usize> = tagged.soft().iter().map(|order| order.tags.len()).collect();
        assert_eq!(lengths, [ORDER_TAGS_MAX, 1]);
        assert!(Tagged::default().hard().is_empty());
    }

    #[test]
    fn what_is_told_is_understood() {
        for soft in [false, true] {
            let tags: SmallVec<[Tag; 4]> = (0..ORDER_TAGS_MAX as u64).map(Tag).collect();
            let order = Order { tags, soft };
            assert_eq!(Order::read(order.message(7, 300).as_bytes()), Some(order.clone()));
            assert_ne!(order.message(7, 300), order.message(7, 301));
        }
    }

    #[test]
    fn anything_else_is_not_understood() {
        let tag = "0".repeat(16);
        let many = tag.repeat(ORDER_TAGS_MAX + 1);
        for wrong in [
            "",
            " ",
            "0000000000000001.1 h ",
            &format!("0000000000000001.1 x {tag}"),
            &format!("0000000000000001.1 h {tag}0"),
            &format!("0000000000000001.1 h {tag} "),
            &format!("0000000000000001.1 h {many}"),
            &format!("0000000000000001. h {tag}"),
            &format!("1.1 h {tag}"),
            &format!("0000000000000001.1 h {}", "A".repeat(16)),
            &format!("0000000000000001.1 h +{}", "0".repeat(15)),
        ] {
            assert_eq!(Order::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Order::read(b"\xff"), None);
        let good = format!("0000000000000001.1 h {tag}");
        assert!(Order::read(good.as_bytes()).is_some());
    }
}
