//! Rewrites what a linear-time engine lacks into what it has, where both match the same texts and remember the same.

use super::{
    Untranslatable,
    bytes::Bytes,
    node::{Follow, Node},
};

/// Rewrites a whole pattern; `used` tells whether anybody wants to know what a group matched. Also expressions that must
/// not match for the pattern to.
pub(super) fn resolve(
    pattern: Node,
    used: &dyn Fn(usize) -> bool,
) -> Result<(Node, Vec<Node>), Untranslatable> {
    let (pattern, refused) = take_refusals(pattern)?;
    let resolver = Resolver { used };
    Ok((resolver.node(pattern, Follow::NOTHING)?, refused))
}

/// Takes negative look-aheads out of the beginning of an anchored pattern: where every byte before one has its place,
/// "does not match there" can be said of the whole text.
fn take_refusals(pattern: Node) -> Result<(Node, Vec<Node>), Untranslatable> {
    let Node::Row(row) = pattern else { return Ok((pattern, Vec::new())) };
    if row.first() != Some(&Node::Start) {
        return Ok((Node::Row(row), Vec::new()));
    }
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    let mut place = Some(0_u32);
    for (number, node) in row.iter().enumerate() {
        match (place, node) {
            (Some(before), Node::Look { inner, ahead: true, negative: true })
                if !is_single(inner, row.get(number + 1)) =>
            {
                let skipped =
                    Node::repeat(Node::Set(Bytes::ALL), before, Some(before), super::node::Manner::Greedy);
                let inner = Node::Row(vec![Node::Start, skipped, inner.as_ref().clone().without_groups()]);
                refused.push(Resolver { used: &|_| false }.node(inner, Follow::NOTHING)?);
            }
            _ => {
                place = place.and_then(|place| place.checked_add(node.width()?));
                kept.push(node.clone());
            }
        }
    }
    Ok((Node::Row(kept), refused))
}

/// Whether a look-ahead at one byte can be made part of what follows.
fn is_single(inner: &Node, next: Option<&Node>) -> bool {
    inner.as_set().is_some_and(|set| next.is_none_or(|next| narrowed(next, set.not()).is_some()))
}

struct Resolver<'a> {
    used: &'a dyn Fn(usize) -> bool,
}

impl Resolver<'_> {
    fn node(&self, node: Node, follow: Follow) -> Result<Node, Untranslatable> {
        Ok(match node {
            Node::Atomic(inner) => self.atomic(*inner, follow)?,
            Node::Choice(branches) => Node::Choice(
                branches.into_iter().map(|branch| self.node(branch, follow)).collect::<Result<_, _>>()?,
            ),
            Node::End if !follow.nothing => return Err(Untranslatable::EndInside),
            Node::Group { number, inner } if (self.used)(number) => self.group(number, *inner, follow)?,
            Node::Group { inner, .. } => self.node(*inner, follow)?,
            Node::Look { inner, ahead, negative } => self.look(*inner, ahead, negative, follow)?,
            // When such a loop ends, and what its groups remember then, is told differently by every engine.
            Node::Repeat { inner, most: None, .. } if inner.may_be_empty() => {
                return Err(Untranslatable::EmptyRound);
            }
            Node::Repeat { inner, least, most, lazy } => {
                let around = if most == Some(1) { follow } else { follow.around(&inner) };
                Node::Repeat { inner: Box::new(self.node(*inner, around)?), least, most, lazy }
            }
            Node::Row(row) => self.row(row, follow)?,
            leaf => leaf,
        })
    }

    /// From right to left, since what a part may become depends on what follows it.
    fn row(&self, mut row: Vec<Node>, mut follow: Follow) -> Result<Node, Untranslatable> {
        let mut done: Vec<Node> = Vec::with_capacity(row.len());
        while let Some(node) = row.pop() {
            // A look-ahead at one byte narrows the next.
            if let Node::Look { inner, ahead: true, negative } = &node
                && let Some(set) = inner.as_set()
                && let Some(next) = done.last()
            {
                let wanted = if *negative { set.not() } else { set };
                let narrow = narrowed(next, wanted).ok_or(Untranslatable::LookAround)?;
                done.pop();
                done.push(narrow);
                continue;
            }
            let resolved = self.node(node, follow)?;
            follow = follow.before(&resolved);
            done.push(resolved);
        }
        done.reverse();
        Ok(Node::Row(done))
    }

    /// What a group remembers must not grow by what stands for an end or a look ahead: an end that closes it is put behind
    /// it, where it means the same, and others are not possible inside.
    fn group(&self, number: usize, inner: Node, follow: Follow) -> Result<Node, Untranslatable> {
        let (inner, ends) = match inner {
            Node::End => (Node::Row(Vec::new()), true),
            Node::Row(mut row) if row.last() == Some(&Node::End) => {
                row.pop();
                (Node::Row(row), true)
            }
            inner => (inner, false),
        };
        if ends && !follow.nothing {
            return Err(Untranslatable::EndInside);
        }
        let after = if ends { follow.before(&Node::End) } else { Follow { nothing: false, ..follow } };
        let group = Node::Group { number, inner: Box::new(self.node(inner, after)?) };
        Ok(if ends { Node::Row(vec![group, Node::End]) } else { group })
    }

    /// Without its promise to give nothing back, where nothing that follows could use what was given back.
    fn atomic(&self, inner: Node, follow: Follow) -> Result<Node, Untranslatable> {
        let of_one_set = match &inner {
            Node::Repeat { inner, .. } => inner.as_set(),
            _ => None,
        };
        let gives_nothing = of_one_set.is_some_and(|set| !follow.first.meets(set)) && !is_lazy(&inner);
        if follow.always || inner.is_rigid() || gives_nothing {
            return self.node(inner, follow);
        }
        Err(Untranslatable::Atomic)
    }

    /// A look-ahead that nothing follows.
    fn look(&self, inner: Node, ahead: bool, negative: bool, follow: Follow) -> Result<Node, Untranslatable> {
        match (ahead && follow.nothing, negative, inner.as_set()) {
            (true, false, _) => self.node(inner, follow),
            (true, true, Some(set)) => Ok(Node::Choice(vec![Node::Set(set.not()), Node::VeryEnd])),
            _ => Err(Untranslatable::LookAround),
        }
    }
}

fn is_lazy(node: &Node) -> bool {
    matches!(node, Node::Repeat { lazy: true, .. })
}

/// The same, if its first byte is of a set too. `None` if it may match without taking a byte, or would have to be
/// written twice with what it remembers.
fn narrowed(node: &Node, set: Bytes) -> Option<Node> {
    Some(match node {
        Node::Set(own) => Node::Set(own.and(set)),
        Node::Atomic(inner) => Node::Atomic(Box::new(narrowed(inner, set)?)),
        Node::Group { number, inner } => {
            Node::Group { number: *number, inner: Box::new(narrowed(inner, set)?) }
        }
        Node::Choice(branches) => {
            Node::Choice(branches.iter().map(|branch| narrowed(branch, set)).collect::<Option<_>>()?)
        }
        Node::Row(row) => {
            let (first, rest) = row.split_first()?;
            Node::Row(std::iter::once(narrowed(first, set)?).chain(rest.iter().cloned()).collect())
        }
        Node::Repeat { inner, least, most, lazy } if *least > 0 && !inner.has_group() => {
            let rest = Node::Repeat {
                inner: inner.clone(),
                least: least - 1,
                most: most.map(|most| most - 1),
                lazy: *lazy,
            };
            Node::Row(vec![narrowed(inner, set)?, rest])
        }
        _ => return None,
    })
}
