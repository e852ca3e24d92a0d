//! Templates of numbers, taken apart.

use super::misplaced;
use millrace_types::Result;

/// An element of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `9`: a digit, blank where the number has none.
    Digit,
    /// `0`: a digit, zero where the number has none.
    Zero,
    /// `.` or `D`.
    Point,
    /// `,` or `G`.
    Group,
    /// `L`: the currency, of which there is none.
    Currency,
    /// `MI`
    Minus,
    /// `PL`
    Plus,
    /// `SG`
    Sign,
    /// `RN` and `rn`: whether in capitals.
    Roman(bool),
    /// `TH` and `th`: whether in capitals.
    Ordinal(bool),
    /// What leaves no mark in its place: `FM`, `S`, `PR`, `V`, `B`, `EEEE`.
    Nothing,
    /// Any other character, as it stands.
    Literal(char),
}

/// Where `S` puts the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Before,
    After,
}

/// A template of a number.
#[derive(Debug, Default)]
pub struct Template {
    pub elements: Vec<Element>,
    /// Digits before and after the point.
    pub before: usize,
    pub after: usize,
    /// Digits after `V`: powers of ten that the number is multiplied by.
    pub shifted: usize,
    /// `FM`: no blanks.
    pub fill: bool,
    pub has_point: bool,
    /// The place of the first `0` before the point, and the number of digits up to the last one.
    pub zero_start: Option<usize>,
    pub zero_end: usize,
    /// `S`, and how many digits stood before it.
    pub anchored: Option<(Anchor, usize)>,
    pub minus: bool,
    pub plus: bool,
    /// `PR`: negative numbers in angle brackets.
    pub brackets: bool,
    pub roman: bool,
    /// `EEEE`
    pub scientific: bool,
    multiplies: bool,
}

/// Keywords, the longer before those that they begin with.
const KEYWORDS: &[&str] =
    &["EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "SP", "TH", "B", "C", "D", "G", "L", "S", "V", "9", "0", ".", ","];

impl Template {
    /// Reads a template.
    pub fn parse(pattern: &str) -> Result<Template> {
        let mut template = Template::default();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                rest = template.quoted(&rest[1..]);
                continue;
            }
            let keyword = KEYWORDS.iter().find(|word| {
                rest.get(..word.len())
                    .is_some_and(|start| start == **word || (start == word.to_lowercase() && !start.is_empty()))
            });
            match keyword {
                Some(word) => {
                    let capital = rest.starts_with(word);
                    template.keyword(word, capital)?;
                    rest = &rest[word.len()..];
                }
                None => {
                    template.elements.push(Element::Literal(first));
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        Ok(template)
    }

    /// Takes text in double quotes as it is, in which `\` takes the next character; gives what follows it.
    fn quoted<'a>(&mut self, text: &'a str) -> &'a str {
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return &text[at + 1..],
                '\\' => self.elements.extend(characters.next().map(|(_, next)| Element::Literal(next))),
                other => self.elements.push(Element::Literal(other)),
            }
        }
        ""
    }

    fn keyword(&mut self, word: &str, capital: bool) -> Result<()> {
        let element = match word {
            "9" | "0" => self.digit(word == "0")?,
            "." | "D" => {
                if self.has_point {
                    return Err(misplaced("multiple decimal points"));
                }
                if self.multiplies {
                    return Err(misplaced("cannot use \"V\" and decimal point together"));
                }
                self.has_point = true;
                Element::Point
            }
            "," | "G" => Element::Group,
            "L" => Element::Currency,
            "FM" => {
                self.fill = true;
                Element::Nothing
            }
            "S" => self.anchor()?,
            "MI" | "PL" | "SG" => self.sign(word)?,
            "PR" => {
                if self.anchored.is_some() || self.plus || self.minus {
                    return Err(misplaced("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
                Element::Nothing
            }
            "RN" => {
                self.roman = true;
                Element::Roman(capital)
            }
            "TH" => Element::Ordinal(capital),
            "V" => {
                if self.has_point {
                    return Err(misplaced("cannot use \"V\" and decimal point together"));
                }
                self.multiplies = true;
                Element::Nothing
            }
            "EEEE" => {
                self.scientific = true;
                Element::Nothing
            }
            _ => Element::Nothing,
        };
        self.elements.push(element);
        Ok(())
    }

    fn digit(&mut self, zero: bool) -> Result<Element> {
        if self.brackets {
            let digit = if zero { "0" } else { "9" };
            return Err(misplaced(&format!("\"{digit}\" must be ahead of \"PR\"")));
        }
        if self.multiplies && !zero {
            self.shifted += 1;
            self.before += 1;
            return Ok(Element::Digit);
        }
        if zero && !self.has_point && self.zero_start.is_none() {
            self.zero_start = Some(self.before);
        }
        match self.has_point {
            true => self.after += 1,
            false => self.before += 1,
        }
        if zero {
            self.zero_end = self.before + self.after;
        }
        Ok(if zero { Element::Zero } else { Element::Digit })
    }

    fn anchor(&mut self) -> Result<Element> {
        if self.anchored.is_some() {
            return Err(misplaced("cannot use \"S\" twice"));
        }
        if self.plus || self.minus || self.brackets {
            return Err(misplaced("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
        }
        let anchor = if self.has_point { Anchor::After } else { Anchor::Before };
        self.anchored = Some((anchor, self.before));
        Ok(Element::Nothing)
    }

    fn sign(&mut self, word: &str) -> Result<Element> {
        if self.anchored.is_some() {
            return Err(misplaced(&format!("cannot use \"S\" and \"{word}\" together")));
        }
        self.minus |= word != "PL";
        self.plus |= word != "MI";
        Ok(match word {
            "MI" => Element::Minus,
            "PL" => Element::Plus,
            _ => Element::Sign,
        })
    }

    /// Where the sign goes when `S` says it: after the number too when all digits stood before the `S`.
    pub fn sign_anchor(&self) -> Option<Anchor> {
        let (anchor, digits) = self.anchored?;
        let last = anchor == Anchor::Before && digits == self.before && !self.minus && !self.plus;
        Some(if last { Anchor::After } else { anchor })
    }
}
