//! Patterns that refer back to a group, or look ahead or behind: matched by trying one possibility after the other.
//!
//! A node is matched by a function that is given what comes after it, so that it can be asked for its next possibility
//! when what comes after does not match. What repeats a single character needs no depth; other repetitions are bounded.

mod read;

use super::pattern::Options;
use millrace_types::{Result, SqlError, SqlState};
pub use read::read;

/// How many possibilities are tried before a match is given up.
const STEPS: usize = 5_000_000;
/// How deep possibilities may depend on one another.
const DEPTH: usize = 1_000;

/// A pattern.
pub struct Backtracking {
    root: Node,
    /// The number of its groups, the whole match among them.
    pub groups: usize,
    options: Options,
}

/// The bytes that each group matched, the whole match first.
pub type Ranges = Vec<Option<(usize, usize)>>;

enum Node {
    Character(char),
    Any,
    /// One character of a class: the class as a pattern of its own.
    Class(Box<regex::Regex>),
    Start {
        of_line: bool,
    },
    End {
        of_line: bool,
    },
    /// A place that the crate's own syntax names: `\b`.
    Place(Box<regex::Regex>),
    Group(usize, Box<Node>),
    Reference(usize),
    Look {
        behind: bool,
        negated: bool,
        node: Box<Node>,
    },
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat {
        node: Box<Node>,
        least: usize,
        most: usize,
        greedy: bool,
    },
}

impl Backtracking {
    /// What the groups of the first match that begins at the byte `from` or behind it matched.
    pub fn find(&self, text: &str, from: usize) -> Result<Option<Ranges>> {
        let mut machine = Machine { pattern: self, text, groups: vec![None; self.groups], steps: 0, depth: 0 };
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]).filter(|at| *at >= from);
        for start in starts {
            let found = machine.matches(&self.root, start, &mut |machine, end| {
                machine.groups[0] = Some((start, end));
                Ok(true)
            })?;
            if found {
                return Ok(Some(machine.groups));
            }
        }
        Ok(None)
    }
}

/// A match that is being sought.
struct Machine<'a> {
    pattern: &'a Backtracking,
    text: &'a str,
    groups: Ranges,
    steps: usize,
    depth: usize,
}

/// What comes after a node: whether it matches from a byte on.
type Next<'n, 'a> = &'n mut dyn FnMut(&mut Machine<'a>, usize) -> Result<bool>;

impl<'a> Machine<'a> {
    /// Whether a node matches from a byte on, and then what comes after it.
    fn matches(&mut self, node: &Node, at: usize, next: Next<'_, 'a>) -> Result<bool> {
        self.steps += 1;
        if self.steps > STEPS || self.depth > DEPTH {
            return Err(too_complex());
        }
        self.depth += 1;
        let found = self.possibilities(node, at, next);
        self.depth -= 1;
        found
    }

    fn possibilities(&mut self, node: &Node, at: usize, next: Next<'_, 'a>) -> Result<bool> {
        match node {
            Node::Character(_) | Node::Any | Node::Class(_) => match self.one(node, at) {
                Some(end) => next(self, end),
                None => Ok(false),
            },
            Node::Start { of_line } => {
                let starts = at == 0 || *of_line && self.text[..at].ends_with('\n');
                if starts { next(self, at) } else { Ok(false) }
            }
            Node::End { of_line } => {
                let ends = at == self.text.len() || *of_line && self.text[at..].starts_with('\n');
                if ends { next(self, at) } else { Ok(false) }
            }
            Node::Place(place) => {
                let is_there = place.find_at(self.text, at).is_some_and(|found| found.start() == at);
                if is_there { next(self, at) } else { Ok(false) }
            }
            Node::Group(group, inner) => self.matches(inner, at, &mut |machine, end| {
                let before = machine.groups[*group].replace((at, end));
                let found = next(machine, end)?;
                if !found {
                    machine.groups[*group] = before;
                }
                Ok(found)
            }),
            Node::Reference(group) => match self.referred(*group, at) {
                Some(end) => next(self, end),
                None => Ok(false),
            },
            Node::Look { behind, negated, node } => {
                let groups = self.groups.clone();
                let found =
                    if *behind { self.ends_at(node, at)? } else { self.matches(node, at, &mut |_, _| Ok(true))? };
                if *negated {
                    self.groups.clone_from(&groups);
                }
                let goes_on = found != *negated && next(self, at)?;
                if !goes_on {
                    self.groups = groups;
                }
                Ok(goes_on)
            }
            Node::Sequence(nodes) => self.sequence(nodes, at, next),
            Node::Choice(nodes) => {
                for node in nodes {
                    if self.matches(node, at, next)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Repeat { node, least, most, greedy } => match node.as_ref() {
                Node::Character(_) | Node::Any | Node::Class(_) => {
                    self.repeated_character(node, (*least, *most, *greedy), at, next)
                }
                _ => self.repeated(node, (*least, *most, *greedy), 0, at, next),
            },
        }
    }

    fn sequence(&mut self, nodes: &[Node], at: usize, next: Next<'_, 'a>) -> Result<bool> {
        match nodes {
            [] => next(self, at),
            [last] => self.matches(last, at, next),
            [first, rest @ ..] => self.matches(first, at, &mut |machine, end| machine.sequence(rest, end, next)),
        }
    }

    /// The end of the one character at a byte, if it is what a node says.
    fn one(&mut self, node: &Node, at: usize) -> Option<usize> {
        self.steps += 1;
        let character = self.text[at..].chars().next()?;
        let end = at + character.len_utf8();
        let is_it = match node {
            Node::Character(wanted) => self.same(*wanted, character),
            Node::Any => character != '\n' || !self.pattern.options.stops_at_lines,
            Node::Class(class) => class.is_match(&self.text[at..end]),
            _ => false,
        };
        is_it.then_some(end)
    }

    fn same(&self, a: char, b: char) -> bool {
        a == b || self.pattern.options.ignores_case && a.to_lowercase().eq(b.to_lowercase())
    }

    /// The end of what a group matched before, if it stands at a byte again.
    fn referred(&self, group: usize, at: usize) -> Option<usize> {
        let (start, end) = (*self.groups.get(group)?)?;
        let mut here = self.text[at..].char_indices();
        for wanted in self.text[start..end].chars() {
            let (_, character) = here.next()?;
            if !self.same(wanted, character) {
                return None;
            }
        }
        Some(here.next().map_or(self.text.len(), |(length, _)| at + length))
    }

    /// Whether a node matches something that ends at a byte.
    fn ends_at(&mut self, node: &Node, end: usize) -> Result<bool> {
        let starts = self.text[..end].char_indices().rev().map(|(at, _)| at);
        for start in std::iter::once(end).chain(starts) {
            if self.matches(node, start, &mut |_, at| Ok(at == end))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn repeated_character(
        &mut self,
        node: &Node,
        (least, most, greedy): (usize, usize, bool),
        at: usize,
        next: Next<'_, 'a>,
    ) -> Result<bool> {
        let (mut ends, mut end) = (vec![at], at);
        if greedy {
            while ends.len() <= most
                && let Some(further) = self.one(node, end)
            {
                ends.push(further);
                end = further;
            }
            for end in ends.into_iter().skip(least).rev() {
                if self.counted_next(end, next)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        for count in 0..=most {
            if count >= least && self.counted_next(end, next)? {
                return Ok(true);
            }
            match self.one(node, end) {
                Some(further) => end = further,
                None => break,
            }
        }
        Ok(false)
    }

    fn counted_next(&mut self, at: usize, next: Next<'_, 'a>) -> Result<bool> {
        self.steps += 1;
        if self.steps > STEPS { Err(too_complex()) } else { next(self, at) }
    }

    fn repeated(
        &mut self,
        node: &Node,
        bounds: (usize, usize, bool),
        count: usize,
        at: usize,
        next: Next<'_, 'a>,
    ) -> Result<bool> {
        let (least, most, greedy) = bounds;
        if !greedy && count >= least && self.counted_next(at, next)? {
            return Ok(true);
        }
        let again = count < most
            && self.matches(node, at, &mut |machine, end| match end == at && count >= least {
                true => Ok(false),
                false => machine.repeated(node, bounds, count + 1, end, next),
            })?;
        Ok(again || greedy && count >= least && self.counted_next(at, next)?)
    }
}

fn too_complex() -> SqlError {
    SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, "regular expression failed: regular expression is too complex")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refers_back_or_looks_around_is_matched() {
        for (pattern, text, expected) in [
            (r"(.)\1", "hello", Some("ll")),
            (r"(.)\1", "helo", None),
            (r"(a|b)+\1", "abba", Some("abb")),
            (r"o(?=b)", "foobar", Some("o")),
            (r"(?<!o)b", "ob", None),
            (r"(?<=[a-z]\d)x", "a1x", Some("x")),
            (r"\d(?=(\d{3})+$)", "1234", Some("1")),
            (r"^(?!.*no).*$", "yes", Some("yes")),
            (r"<(\w+)>.*?</\1>", "<b>x</b></b>", Some("<b>x</b>")),
            (r"\m(\w)\w*\1\M", "an aha", Some("aha")),
            (r"(x?){3}(?=y)", "xxy", Some("xx")),
        ] {
            let found = read(pattern, Options::default()).unwrap().find(text, 0).unwrap();
            let whole = found.and_then(|groups| groups[0]).map(|(start, end)| &text[start..end]);
            assert_eq!(whole, expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_takes_too_long_ends() {
        let text = "a".repeat(60);
        let pattern = read(r"(a*)*(a*)*(?=b)\1", Options::default()).unwrap();
        assert_eq!(pattern.find(&text, 0).unwrap_err().state(), SqlState::INVALID_REGULAR_EXPRESSION);
    }
}
