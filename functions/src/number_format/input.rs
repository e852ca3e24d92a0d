//! Numbers read by a template.

use super::template::{Element, Template};

/// The digits, point and sign of the number that a template finds in a text, as a cast to numeric reads them.
pub fn number_in(text: &str, template: &Template) -> String {
    let mut reader = Reader { rest: text.chars().peekable(), digits: String::new(), negative: false, point: false };
    let (mut before, mut after) = (template.before, template.after);
    for element in &template.elements {
        match element {
            Element::Digit | Element::Zero => {
                reader.blanks_and_signs();
                let room = if reader.point { &mut after } else { &mut before };
                if *room > 0 && reader.digit() {
                    *room -= 1;
                } else if template.has_point && reader.take('.') {
                    reader.digits.push('.');
                    reader.point = true;
                    after -= usize::from(after > 0 && reader.digit());
                }
            }
            Element::Point => {
                if !reader.point && reader.take('.') {
                    reader.digits.push('.');
                    reader.point = true;
                }
            }
            Element::Group => drop(reader.take(',')),
            Element::Minus | Element::Plus | Element::Sign | Element::Nothing => reader.blanks_and_signs(),
            Element::Currency | Element::Literal(_) => reader.skip(),
            Element::Roman(_) | Element::Ordinal(_) => {}
        }
    }
    reader.blanks_and_signs();
    let sign = if reader.negative { "-" } else { "" };
    format!("{sign}{}", reader.digits)
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    digits: String,
    negative: bool,
    point: bool,
}

impl Reader<'_> {
    fn take(&mut self, character: char) -> bool {
        self.rest.next_if_eq(&character).is_some()
    }

    fn digit(&mut self) -> bool {
        let digit = self.rest.next_if(char::is_ascii_digit);
        self.digits.extend(digit);
        digit.is_some()
    }

    fn blanks_and_signs(&mut self) {
        while let Some(character) = self.rest.next_if(|c| matches!(c, ' ' | '+' | '-' | '<' | '>')) {
            self.negative |= matches!(character, '-' | '<');
        }
    }

    /// A character of the template stands for any that is no part of a number.
    fn skip(&mut self) {
        let _ = self.rest.next_if(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '+' | '-'));
    }
}
