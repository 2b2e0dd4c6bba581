//! A radix trie: the longest of many literals that a text begins with, in one pass over the
//! text, whatever their number.
//!
//! All tries of a table share three arenas. The children of a node lie side by side, and so do
//! the bytes that their labels begin with, so that choosing a child reads one short run of bytes.

/// Tries over byte strings.
#[derive(Debug, Default)]
pub(super) struct Tries {
    nodes: Vec<Node>,
    /// First byte of the label of the node at the same index.
    firsts: Vec<u8>,
    /// Bytes of all labels.
    labels: Vec<u8>,
}

/// One trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root(u32);

#[derive(Clone, Copy, Debug)]
struct Node {
    label: (u32, u32),
    children: (u32, u32),
    value: Option<u32>,
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
            let start = self.nodes.len();
            for group in keys.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
                let label = common_label(group, depth);
                let child = self.push(label);
                open.push_back((child, group, depth + label.len()));
            }
            let children = (index(start), index(self.nodes.len()));
            if let Some(node) = self.nodes.get_mut(at) {
                (node.children, node.value) = (children, value);
            }
        }
        Root(index(root))
    }

    fn push(&mut self, label: &[u8]) -> usize {
        let start = index(self.labels.len());
        self.labels.extend_from_slice(label);
        self.firsts.push(label.first().copied().unwrap_or_default());
        let label = (start, index(self.labels.len()));
        self.nodes.push(Node { label, children: (0, 0), value: None });
        self.nodes.len() - 1
    }

    /// The value of the longest key that the text begins with.
    pub(super) fn longest(&self, root: Root, text: &[u8]) -> Option<u32> {
        let mut node = self.nodes.get(root.0 as usize)?;
        let mut rest = text;
        let mut longest = node.value;
        while let Some(child) = self.child(node, rest) {
            let label = self.labels.get(child.label.0 as usize..child.label.1 as usize)?;
            let Some(below) = rest.strip_prefix(label) else { break };
            longest = child.value.or(longest);
            (node, rest) = (child, below);
        }
        longest
    }

    fn child(&self, node: &Node, rest: &[u8]) -> Option<&Node> {
        let (start, end) = (node.children.0 as usize, node.children.1 as usize);
        let firsts = self.firsts.get(start..end)?;
        let at = firsts.binary_search(rest.first()?).ok()?;
        self.nodes.get(start + at)
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
