//! The tree of an expression, and what can be told from it.

use super::bytes::Bytes;

/// The most that PCRE lets a repetition count to.
pub(super) const MAX_REPEAT: u32 = 65_535;

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Matched once and for all.
    Atomic(Box<Node>),
    /// The first that lets the whole match.
    Choice(Vec<Node>),
    /// Between a word and something else, or not.
    Edge(bool),
    /// The end, or before a line feed that ends the text.
    End,
    /// Remembers what it matched.
    Group {
        number: usize,
        inner: Box<Node>,
    },
    /// Looks and takes nothing.
    Look {
        inner: Box<Node>,
        ahead: bool,
        negative: bool,
    },
    Repeat {
        inner: Box<Node>,
        least: u32,
        most: Option<u32>,
        lazy: bool,
    },
    /// One after the other.
    Row(Vec<Node>),
    /// One byte of a set.
    Set(Bytes),
    Start,
    VeryEnd,
}

/// How a repetition decides how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Greedy,
    Lazy,
    Possessive,
}

impl Node {
    pub fn repeat(inner: Self, least: u32, most: Option<u32>, manner: Manner) -> Self {
        let repeat = Self::Repeat { inner: Box::new(inner), least, most, lazy: manner == Manner::Lazy };
        if manner == Manner::Possessive { Self::Atomic(Box::new(repeat)) } else { repeat }
    }

    /// The set, if it is one byte of a set however it is written.
    pub fn as_set(&self) -> Option<Bytes> {
        match self {
            Self::Set(set) => Some(*set),
            Self::Row(row) => match row.as_slice() {
                [only] => only.as_set(),
                _ => None,
            },
            Self::Choice(branches) => {
                branches.iter().try_fold(Bytes::NONE, |set, branch| Some(set.or(branch.as_set()?)))
            }
            _ => None,
        }
    }

    /// Whether it can match without taking a byte.
    pub fn may_be_empty(&self) -> bool {
        match self {
            Self::Edge(_) | Self::End | Self::Look { .. } | Self::Start | Self::VeryEnd => true,
            Self::Set(_) => false,
            Self::Atomic(inner) | Self::Group { inner, .. } => inner.may_be_empty(),
            Self::Choice(branches) => branches.iter().any(Self::may_be_empty),
            Self::Repeat { inner, least, .. } => *least == 0 || inner.may_be_empty(),
            Self::Row(row) => row.iter().all(Self::may_be_empty),
        }
    }

    /// How many bytes it takes, if always the same.
    pub fn width(&self) -> Option<u32> {
        match self {
            Self::Edge(_) | Self::End | Self::Look { .. } | Self::Start | Self::VeryEnd => Some(0),
            Self::Set(_) => Some(1),
            Self::Atomic(inner) | Self::Group { inner, .. } => inner.width(),
            Self::Choice(branches) => {
                let mut widths = branches.iter().map(Self::width);
                let first = widths.next()??;
                widths.all(|width| width == Some(first)).then_some(first)
            }
            Self::Repeat { inner, least, most, .. } if Some(*least) == *most => {
                inner.width()?.checked_mul(*least)
            }
            Self::Repeat { .. } => None,
            Self::Row(row) => row.iter().try_fold(0_u32, |sum, node| sum.checked_add(node.width()?)),
        }
    }

    /// Whether there is only one way for it to match at a place.
    pub fn is_rigid(&self) -> bool {
        match self {
            Self::Edge(_) | Self::End | Self::Set(_) | Self::Start | Self::VeryEnd => true,
            Self::Atomic(_) => true,
            Self::Group { inner, .. } => inner.is_rigid(),
            Self::Look { .. } | Self::Choice(_) => self.as_set().is_some(),
            Self::Repeat { inner, least, most, .. } => Some(*least) == *most && inner.is_rigid(),
            Self::Row(row) => row.iter().all(Self::is_rigid),
        }
    }

    /// Whether it remembers anything.
    pub fn has_group(&self) -> bool {
        self.any(&|node| matches!(node, Self::Group { .. }))
    }

    fn any(&self, is_such: &dyn Fn(&Self) -> bool) -> bool {
        is_such(self)
            || match self {
                Self::Atomic(inner)
                | Self::Group { inner, .. }
                | Self::Look { inner, .. }
                | Self::Repeat { inner, .. } => inner.any(is_such),
                Self::Choice(nodes) | Self::Row(nodes) => nodes.iter().any(|node| node.any(is_such)),
                Self::Edge(_) | Self::End | Self::Set(_) | Self::Start | Self::VeryEnd => false,
            }
    }

    /// The same without memory.
    pub fn without_groups(self) -> Self {
        let inside = |inner: Box<Self>| Box::new(inner.without_groups());
        match self {
            Self::Atomic(inner) => Self::Atomic(inside(inner)),
            Self::Choice(nodes) => Self::Choice(nodes.into_iter().map(Self::without_groups).collect()),
            Self::Group { inner, .. } => inner.without_groups(),
            Self::Look { inner, ahead, negative } => Self::Look { inner: inside(inner), ahead, negative },
            Self::Repeat { inner, least, most, lazy } => {
                Self::Repeat { inner: inside(inner), least, most, lazy }
            }
            Self::Row(nodes) => Self::Row(nodes.into_iter().map(Self::without_groups).collect()),
            leaf => leaf,
        }
    }
}

/// What comes after a part of an expression, up to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follow {
    /// Every byte that it may begin with.
    pub first: Bytes,
    /// It matches nothing too, wherever it is tried.
    pub always: bool,
    /// There is nothing.
    pub nothing: bool,
}

impl Follow {
    pub const NOTHING: Self = Self { first: Bytes::NONE, always: true, nothing: true };

    /// What follows what stands before `node`.
    pub fn before(self, node: &Node) -> Self {
        match node {
            // Assertions may refuse; what may stand behind them does not matter then.
            Node::Edge(_) | Node::Start | Node::Look { .. } => {
                Self { first: Bytes::ALL, always: false, nothing: false }
            }
            // It begins with no byte, and where the text has ended nothing is left to be given back.
            Node::End | Node::VeryEnd => Self { first: Bytes::NONE, always: false, nothing: false },
            Node::Set(set) => Self { first: *set, always: false, nothing: false },
            Node::Atomic(inner) | Node::Group { inner, .. } => self.before(inner),
            Node::Choice(branches) => {
                let mut all = Self { first: Bytes::NONE, always: false, nothing: false };
                for follow in branches.iter().map(|branch| self.before(branch)) {
                    all.first = all.first.or(follow.first);
                    all.always |= follow.always;
                }
                all
            }
            Node::Repeat { inner, least, .. } => {
                let once = self.before(inner);
                let first = if *least == 0 { once.first.or(self.first) } else { once.first };
                let always = if *least == 0 { self.always } else { once.always };
                Self { first, always, nothing: false }
            }
            Node::Row(row) if row.is_empty() => self,
            Node::Row(row) => row.iter().rev().fold(self, |follow, node| follow.before(node)),
        }
    }

    /// What follows the inside of a repetition: maybe itself again.
    pub fn around(self, inner: &Node) -> Self {
        Self { first: self.before(inner).first.or(self.first), always: false, nothing: false }
    }
}
