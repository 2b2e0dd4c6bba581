//! A radix trie: the longest of many literals that a text begins with, in one pass over the
//! text, whatever their number.
//!
//! All tries of a table share two arenas. A node is one line of the processor's cache: it holds
//! which bytes its children begin with as a set of bits, and the children lie side by side in
//! the order of those bytes, so that going down a level costs one line, and not a search.

/// Tries over byte strings.
#[derive(Debug, Default)]
pub(super) struct Tries {
    nodes: Vec<Node>,
    /// Bytes of all labels.
    labels: Vec<u8>,
}

/// One trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root(u32);

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Node {
    label: (u32, u32),
    children: Children,
    value: Option<u32>,
}

/// Where the children of a node are.
#[derive(Clone, Copy, Debug, Default)]
struct Children {
    /// The bytes that their labels begin with, 64 to a word.
    firsts: [u64; 4],
    /// How many children begin with a byte of the words before.
    before: [u8; 4],
    /// The first child.
    start: u32,
}

impl Children {
    fn insert(&mut self, byte: u8) {
        let (word, bit) = place(byte);
        if let Some(word) = self.firsts.get_mut(word) {
            *word |= bit;
        }
        for before in self.before.iter_mut().skip(word + 1) {
            // At most 192 bytes stand before the last word.
            *before += 1;
        }
    }

    /// The child whose label begins with a byte.
    fn get(&self, byte: u8) -> Option<usize> {
        let (word, bit) = place(byte);
        let (firsts, before) = (*self.firsts.get(word)?, *self.before.get(word)?);
        if firsts & bit == 0 {
            return None;
        }
        let rank = u32::from(before) + (firsts & (bit - 1)).count_ones();
        Some((self.start + rank) as usize)
    }
}

/// The word of a byte, and its bit in there.
const fn place(byte: u8) -> (usize, u64) {
    ((byte >> 6) as usize, 1 << (byte & 63))
}

impl Tries {
    /// Adds a trie of sorted keys without duplicates, each with a value.
    pub(super) fn add(&mut self, keys: &[(&[u8], u32)]) -> Root {
        let root = self.push(&[]);
        // Breadth first: all children of a node are pushed together, and depth costs no stack.
        let mut open = std::collections::VecDeque::from([(root, keys, 0)]);
        while let Some((at, mut keys, depth)) = open.pop_front() {
            let mut value = None;
            if let Some(((key, here), rest)) = keys.split_first()
                && key.len() == depth
            {
                (value, keys) = (Some(*here), rest);
            }
            let mut children = Children { start: index(self.nodes.len()), ..Children::default() };
            for group in keys.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
                let label = common_label(group, depth);
                let child = self.push(label);
                label.first().into_iter().for_each(|byte| children.insert(*byte));
                open.push_back((child, group, depth + label.len()));
            }
            if let Some(node) = self.nodes.get_mut(at) {
                (node.children, node.value) = (children, value);
            }
        }
        Root(index(root))
    }

    fn push(&mut self, label: &[u8]) -> usize {
        let start = index(self.labels.len());
        self.labels.extend_from_slice(label);
        let label = (start, index(self.labels.len()));
        self.nodes.push(Node { label, children: Children::default(), value: None });
        self.nodes.len() - 1
    }

    /// The value of the longest key that the text begins with.
    pub(super) fn longest(&self, root: Root, text: &[u8]) -> Option<u32> {
        let mut node = self.nodes.get(root.0 as usize)?;
        let mut rest = text;
        let mut longest = node.value;
        while let Some(child) = self.child(node, rest) {
            // Its first byte has been compared already. Most labels below a branch have no other,
            // and then the memory where labels are is not touched.
            let label = self.labels.get(child.label.0 as usize + 1..child.label.1 as usize)?;
            let below = rest.get(1..).and_then(|rest| rest.strip_prefix(label));
            let Some(below) = below else { break };
            longest = child.value.or(longest);
            (node, rest) = (child, below);
        }
        longest
    }

    fn child(&self, node: &Node, rest: &[u8]) -> Option<&Node> {
        self.nodes.get(node.children.get(*rest.first()?)?)
    }
}

/// What all keys of a group go on with. They are sorted, so the outermost two decide.
fn common_label<'a>(group: &[(&'a [u8], u32)], depth: usize) -> &'a [u8] {
    let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) else { return &[] };
    let first = first.get(depth..).unwrap_or_default();
    let last = last.get(depth..).unwrap_or_default();
    let length = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    first.get(..length).unwrap_or_default()
}

/// Arenas are bounded by the size of the configuration, far below 4 GiB.
fn index(at: usize) -> u32 {
    debug_assert!(u32::try_from(at).is_ok(), "arena of {at}");
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
