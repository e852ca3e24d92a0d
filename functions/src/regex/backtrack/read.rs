//! Text into a pattern that is matched by backtracking.

use super::super::pattern::{Options, class, flagged, invalid};
use super::{Backtracking, Node};
use millrace_types::Result;
use std::iter::Peekable;
use std::str::Chars;

/// How deep groups may nest.
const NESTING: usize = 100;

/// Reads a pattern.
pub fn read(pattern: &str, mut options: Options) -> Result<Backtracking> {
    let mut rest = pattern;
    // Options at the start: `(?i)`.
    if let Some((letters, behind)) = pattern.strip_prefix("(?").and_then(|letters| letters.split_once(')'))
        && !letters.is_empty()
        && letters.chars().all(|letter| letter.is_ascii_lowercase())
    {
        options = flagged(options, letters)?;
        rest = behind;
    }
    let mut reader = Reader { characters: rest.chars().peekable(), options, groups: 1, depth: 0 };
    let root = reader.choice()?;
    if reader.characters.next().is_some() {
        return Err(invalid("parentheses () not balanced"));
    }
    Ok(Backtracking { root, groups: reader.groups, options })
}

struct Reader<'p> {
    characters: Peekable<Chars<'p>>,
    options: Options,
    groups: usize,
    depth: usize,
}

impl Reader<'_> {
    /// Alternatives, up to a closing parenthesis or the end.
    fn choice(&mut self) -> Result<Node> {
        let mut choices = vec![self.sequence()?];
        while self.characters.next_if_eq(&'|').is_some() {
            choices.push(self.sequence()?);
        }
        Ok(if choices.len() == 1 { choices.remove(0) } else { Node::Choice(choices) })
    }

    fn sequence(&mut self) -> Result<Node> {
        let mut nodes = vec![];
        while let Some(character) = self.characters.next_if(|next| !matches!(next, '|' | ')')) {
            if self.options.ignores_blanks && (character.is_whitespace() || character == '#') {
                if character == '#' {
                    self.characters.by_ref().find(|skipped| *skipped == '\n');
                }
                continue;
            }
            let node = self.atom(character)?;
            nodes.push(self.quantified(node)?);
        }
        Ok(Node::Sequence(nodes))
    }

    fn atom(&mut self, character: char) -> Result<Node> {
        let of_line = self.options.anchors_at_lines;
        match character {
            '.' => Ok(Node::Any),
            '^' => Ok(Node::Start { of_line }),
            '$' => Ok(Node::End { of_line }),
            '(' => self.group(),
            '\\' => self.escape(),
            '*' | '+' | '?' => Err(invalid("quantifier operand invalid")),
            '[' => {
                let mut text = String::new();
                class(&mut self.characters, &mut text);
                self.one_of(&text)
            }
            other => Ok(Node::Character(other)),
        }
    }

    fn group(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > NESTING {
            return Err(invalid("regular expression is too complex"));
        }
        let kind = self.characters.next_if_eq(&'?').map(|_| {
            let behind = self.characters.next_if_eq(&'<').is_some();
            (behind, self.characters.next())
        });
        let group = self.groups;
        self.groups += usize::from(kind.is_none());
        let inner = Box::new(self.choice()?);
        if self.characters.next() != Some(')') {
            return Err(invalid("parentheses () not balanced"));
        }
        self.depth -= 1;
        match kind {
            None => Ok(Node::Group(group, inner)),
            Some((false, Some(':'))) => Ok(*inner),
            Some((behind, Some(sign @ ('=' | '!')))) => Ok(Node::Look { behind, negated: sign == '!', node: inner }),
            Some(_) => Err(invalid("quantifier operand invalid")),
        }
    }

    fn escape(&mut self) -> Result<Node> {
        let Some(escaped) = self.characters.next() else { return Err(invalid("invalid escape \\ sequence")) };
        Ok(match escaped {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => self.one_of(&format!("\\{escaped}"))?,
            'y' => place("\\b")?,
            'Y' => place("\\B")?,
            'm' => place("\\b{start}")?,
            'M' => place("\\b{end}")?,
            'A' => Node::Start { of_line: false },
            'Z' => Node::End { of_line: false },
            '1'..='9' => Node::Reference(escaped.to_digit(10).unwrap_or_default() as usize),
            'n' => Node::Character('\n'),
            't' => Node::Character('\t'),
            'r' => Node::Character('\r'),
            'f' => Node::Character('\u{c}'),
            'v' => Node::Character('\u{b}'),
            'a' => Node::Character('\u{7}'),
            'e' => Node::Character('\u{1b}'),
            'B' => Node::Character('\\'),
            'x' => self.code(usize::MAX)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            other if other.is_alphanumeric() => return Err(invalid("invalid escape \\ sequence")),
            other => Node::Character(other),
        })
    }

    /// A character by its number in hexadecimal.
    fn code(&mut self, digits: usize) -> Result<Node> {
        let mut code = 0u32;
        for _ in 0..digits {
            let Some(digit) = self.characters.peek().and_then(|digit| digit.to_digit(16)) else { break };
            code = code.saturating_mul(16).saturating_add(digit);
            self.characters.next();
        }
        char::from_u32(code).map(Node::Character).ok_or_else(|| invalid("invalid escape \\ sequence"))
    }

    /// One character of a class in the crate's syntax.
    fn one_of(&self, class: &str) -> Result<Node> {
        let built = regex::RegexBuilder::new(class).case_insensitive(self.options.ignores_case).build();
        built.map(|class| Node::Class(Box::new(class))).map_err(|_| invalid("brackets [] not balanced"))
    }

    fn quantified(&mut self, node: Node) -> Result<Node> {
        let (least, most) = match self.characters.peek() {
            Some('*') => (0, usize::MAX),
            Some('+') => (1, usize::MAX),
            Some('?') => (0, 1),
            Some('{') => {
                let mut ahead = self.characters.clone();
                ahead.next();
                if !ahead.peek().is_some_and(char::is_ascii_digit) {
                    return Ok(node);
                }
                self.characters.next();
                return self.bounded(node);
            }
            _ => return Ok(node),
        };
        self.characters.next();
        Ok(self.repeat(node, least, most))
    }

    /// What stands behind `{`.
    fn bounded(&mut self, node: Node) -> Result<Node> {
        let text: String = std::iter::from_fn(|| self.characters.next_if(|next| *next != '}')).collect();
        let is_closed = self.characters.next().is_some();
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number <= 255);
        let bounds = match text.split_once(',') {
            None => number(&text).map(|count| (count, count)),
            Some((least, "")) => number(least).map(|least| (least, usize::MAX)),
            Some((least, most)) => number(least).zip(number(most)).filter(|(least, most)| least <= most),
        };
        let (least, most) = bounds.filter(|_| is_closed).ok_or_else(|| invalid("invalid repetition count(s)"))?;
        Ok(self.repeat(node, least, most))
    }

    fn repeat(&mut self, node: Node, least: usize, most: usize) -> Node {
        let greedy = self.characters.next_if_eq(&'?').is_none();
        Node::Repeat { node: Box::new(node), least, most, greedy }
    }
}

fn place(place: &str) -> Result<Node> {
    let place = regex::Regex::new(place).map_err(|_| invalid("invalid escape \\ sequence"))?;
    Ok(Node::Place(Box::new(place)))
}
