//! Where in the text each place of the document stands.
//!
//! The parser that reads values keeps no positions, so a second one reads the text again, for
//! positions alone, and only once there is something to report. Where the two should disagree
//! about a text, a problem loses its line and nothing else.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, Span};

use super::path::{Step, Trail};
use super::shape::{Keys, Shape};

/// A position in the text; both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A stretch of text; `end` is just behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: Point,
    pub(super) end: Point,
}

/// A key that stands twice in one mapping.
pub(super) struct Duplicate {
    /// The path of its value.
    pub(super) path: String,
    /// Where it stands first.
    pub(super) first: Extent,
    /// Where it stands again.
    pub(super) again: Extent,
}

/// The positions of a whole text.
#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    root: Option<usize>,
    /// Where a second document begins, which there should not be.
    pub(super) second_document: Option<Point>,
}

struct Node {
    extent: Extent,
    kind: Kind,
}

enum Kind {
    Scalar,
    /// Stands for another node.
    Alias(Option<usize>),
    List(Vec<usize>),
    Mapping(Vec<Entry>),
}

struct Entry {
    key: String,
    extent: Extent,
    value: usize,
}

/// Levels that are followed down; the value parser refuses deeper documents.
const DEPTH_MAX: usize = 128;

/// The key whose value is merged into the mapping it stands in.
pub(super) const MERGE: &str = "<<";

impl Tree {
    /// Reads the positions of a text, up to the first thing that is not YAML.
    pub(super) fn read(text: &str) -> Self {
        let mut tree = Self::default();
        let mut anchors = HashMap::new();
        let mut open: Vec<(usize, Option<(String, Extent)>)> = Vec::new();
        for event in Parser::new_from_str(text).map_while(Result::ok) {
            let (event, span) = event;
            let (kind, anchor) = match &event {
                Event::DocumentStart(_) if tree.root.is_some() => {
                    tree.second_document = Some(Extent::of(span).start);
                    break;
                }
                Event::Scalar(_, _, anchor, _) => (Kind::Scalar, *anchor),
                Event::SequenceStart(anchor, _) => (Kind::List(Vec::new()), *anchor),
                Event::MappingStart(anchor, _) => (Kind::Mapping(Vec::new()), *anchor),
                Event::Alias(anchor) => (Kind::Alias(anchors.get(anchor).copied()), 0),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                _ => continue,
            };
            let opens = matches!(kind, Kind::List(_) | Kind::Mapping(_));
            let node = tree.nodes.len();
            tree.nodes.push(Node { extent: Extent::of(span), kind });
            if anchor != 0 {
                anchors.insert(anchor, node);
            }
            let text = match event {
                Event::Scalar(text, ..) => text.into_owned(),
                _ => String::new(),
            };
            match open.last_mut() {
                None => tree.root = Some(node),
                Some((parent, key)) => tree.attach(*parent, key, node, text),
            }
            if opens {
                open.push((node, None));
            }
        }
        tree
    }

    /// Puts a node under its parent; in a mapping, keys and values take turns.
    fn attach(
        &mut self,
        parent: usize,
        key: &mut Option<(String, Extent)>,
        node: usize,
        text: String,
    ) {
        let Some(extent) = self.nodes.get(node).map(|node| node.extent) else { return };
        match self.nodes.get_mut(parent).map(|parent| &mut parent.kind) {
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Mapping(entries)) => match key.take() {
                None => *key = Some((text, extent)),
                Some((key, extent)) => entries.push(Entry { key, extent, value: node }),
            },
            _ => {}
        }
    }

    /// The key or item at the end of the way, or the nearest there is above it; none for a text
    /// without content.
    pub(super) fn find(&self, steps: &[Step]) -> Option<Extent> {
        let mut node = self.root?;
        let mut extent = self.nodes.get(node)?.extent;
        let mut rest = steps;
        while let [step, after @ ..] = rest {
            let below = match step {
                Step::Item(index) => self.item(node, *index).map(|found| (found, after)),
                Step::Key(key) => self.entry_spelt(node, key, after),
            };
            let Some(((below, place), after)) = below else { break };
            (node, extent, rest) = (below, place, after);
        }
        Some(extent)
    }

    /// The entry of a key, even if the path does not quote its dots: what follows the key in the
    /// path is tried as part of it. Returns what then still follows.
    fn entry_spelt<'s>(
        &self,
        node: usize,
        key: &str,
        after: &'s [Step],
    ) -> Option<((usize, Extent), &'s [Step])> {
        let mut key = key.to_owned();
        let mut rest = after;
        loop {
            if let Some(found) = self.entry(node, &key, 0) {
                return Some((found, rest));
            }
            let [Step::Key(more), after @ ..] = rest else { return None };
            key = format!("{key}.{more}");
            rest = after;
        }
    }

    /// The value and place of a key, looked for in merged mappings too.
    fn entry(&self, node: usize, key: &str, depth: usize) -> Option<(usize, Extent)> {
        if depth > DEPTH_MAX {
            return None;
        }
        match &self.nodes.get(self.target(node)?)?.kind {
            Kind::Mapping(entries) => {
                let own = entries.iter().find(|entry| entry.key == key);
                own.map(|entry| (entry.value, entry.extent)).or_else(|| {
                    let merged = entries.iter().find(|entry| entry.key == MERGE)?;
                    self.entry(merged.value, key, depth + 1)
                })
            }
            // A list of mappings to merge; only asked for below a merge key.
            Kind::List(items) if depth > 0 => {
                items.iter().find_map(|item| self.entry(*item, key, depth + 1))
            }
            _ => None,
        }
    }

    fn item(&self, node: usize, index: usize) -> Option<(usize, Extent)> {
        match &self.nodes.get(self.target(node)?)?.kind {
            Kind::List(items) => {
                let item = *items.get(index)?;
                Some((item, self.nodes.get(item)?.extent))
            }
            _ => None,
        }
    }

    /// The node itself, or the one that it stands for.
    fn target(&self, mut node: usize) -> Option<usize> {
        // An alias stands for something before it, so this ends.
        while let Kind::Alias(target) = self.nodes.get(node)?.kind {
            node = target.filter(|target| *target < node)?;
        }
        Some(node)
    }

    /// Every key that repeats an earlier one of its mapping.
    pub(super) fn duplicates(&self) -> Vec<Duplicate> {
        let mut found = Vec::new();
        if let Some(root) = self.root {
            self.collect_duplicates(root, &Trail::Root, 0, &mut found);
        }
        found
    }

    fn collect_duplicates(
        &self,
        node: usize,
        at: &Trail<'_>,
        depth: usize,
        found: &mut Vec<Duplicate>,
    ) {
        let Some(node) = self.nodes.get(node).filter(|_| depth <= DEPTH_MAX) else { return };
        match &node.kind {
            Kind::Scalar | Kind::Alias(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect_duplicates(*item, &Trail::Item(at, index), depth + 1, found);
                }
            }
            Kind::Mapping(entries) => {
                let mut seen: HashMap<&str, Extent> = HashMap::new();
                for Entry { key, extent, value } in entries {
                    let here = Trail::Key(at, key);
                    if let Some(first) = seen.get(key.as_str()) {
                        let (path, first, again) = (here.to_string(), *first, *extent);
                        found.push(Duplicate { path, first, again });
                    } else {
                        seen.insert(key, *extent);
                    }
                    self.collect_duplicates(*value, &here, depth + 1, found);
                }
            }
        }
    }

    /// The scalars that are or may be secrets: those where a secret should stand, those where
    /// something that holds one should stand, and everything under keys that nobody knows.
    pub(super) fn secrets(&self, shape: &Shape) -> Vec<Extent> {
        let mut found = Vec::new();
        if let Some(root) = self.root {
            self.collect_secrets(root, Some(shape), 0, &mut found);
        }
        found
    }

    fn collect_secrets(
        &self,
        node: usize,
        shape: Option<&Shape>,
        depth: usize,
        found: &mut Vec<Extent>,
    ) {
        let harmless = shape.is_some_and(|shape| !shape.secret && shape.mapping.is_none());
        let node = self.target(node).and_then(|node| self.nodes.get(node));
        let Some(node) = node.filter(|_| depth <= DEPTH_MAX && !harmless) else { return };
        match &node.kind {
            Kind::Scalar | Kind::Alias(_) => {
                if shape.is_none_or(|shape| shape.secret) {
                    found.push(node.extent);
                }
            }
            Kind::List(items) => {
                let list = shape.and_then(|shape| shape.list.as_deref());
                let merged = shape.filter(|shape| shape.list.is_none() && !shape.secret);
                for item in items {
                    self.collect_secrets(*item, list.or(merged), depth + 1, found);
                }
            }
            Kind::Mapping(entries) => {
                for entry in entries {
                    let below = match shape.map(|shape| (shape, &shape.mapping)) {
                        Some((shape, _)) if entry.key == MERGE => Some(shape),
                        Some((_, Some(Keys::Free(values)))) => Some(&**values),
                        Some((shape, _)) => shape.field(&entry.key).map(|field| &*field.shape),
                        None => None,
                    };
                    self.collect_secrets(entry.value, below, depth + 1, found);
                }
            }
        }
    }
}

impl Extent {
    fn of(span: Span) -> Self {
        let point = |at: Marker| Point { line: at.line(), column: at.col() + 1 };
        Self { start: point(span.start), end: point(span.end) }
    }
}

#[cfg(test)]
mod tests;
