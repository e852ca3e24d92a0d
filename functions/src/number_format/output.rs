//! Numbers written by a template.

use super::template::{Anchor, Element, Template};

/// A number to be written: its digits, rounded to what the template shows.
pub struct Number {
    pub negative: bool,
    pub whole: String,
    pub fraction: String,
}

impl Number {
    /// A whole number with `places` zeros after its point.
    pub fn new(negative: bool, whole: String, places: usize) -> Number {
        Number { negative, whole, fraction: "0".repeat(places) }
    }

    /// The same of a number over `10^scale`. Postgres rounds after it has found the exponent: 9.99 is `10.0e+00`.
    pub fn scientific_exact(value: i128, scale: i8, places: usize) -> Number {
        let digits = value.unsigned_abs().to_string();
        let exponent = if value == 0 { 0 } else { digits.len() as i32 - 1 - i32::from(scale) };
        let dropped = (digits.len() - 1).saturating_sub(places) as u32;
        let unit = 10u128.pow(dropped);
        let rounded = (value.unsigned_abs() + unit / 2) / unit;
        let padding = places.saturating_sub(digits.len() - 1);
        let shown = format!("{rounded}{}", "0".repeat(padding));
        let (whole, fraction) = shown.split_at(shown.len() - places);
        let point = if places > 0 { "." } else { "" };
        let sign = if exponent < 0 { '-' } else { '+' };
        let whole = format!("{whole}{point}{fraction}e{sign}{:02}", exponent.abs());
        Number { negative: value < 0, whole, fraction: String::new() }
    }

    /// `1.235e+03`, all in the part before the point.
    pub fn scientific(value: f64, places: usize) -> Number {
        let text = format!("{:.places$e}", value.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        let whole = format!("{mantissa}e{sign}{digits:0>2}");
        Number { negative: value < 0.0, whole, fraction: String::new() }
    }
}

/// The number as the template writes it.
pub fn written(template: &Template, number: Number) -> String {
    if template.scientific {
        return format!("{}{}", if number.negative { '-' } else { ' ' }, number.whole);
    }
    Writer::new(template, &number).run()
}

/// A number on its way through a template, element by element.
struct Writer<'a> {
    template: &'a Template,
    negative: bool,
    /// Digits and point; the place of the next one.
    digits: Vec<u8>,
    next: usize,
    /// Places before the point that the number does not fill.
    blanks: usize,
    /// Places that have passed, and how many there are.
    place: usize,
    places: usize,
    /// The last digit that is written where zeros at the end are not; the place of the point when none is.
    last: Option<usize>,
    sign_written: bool,
    /// Whether a digit has just been written: commas stand only between digits.
    inside: bool,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(template: &'a Template, number: &Number) -> Writer<'a> {
        let mut digits = number.whole.clone();
        let blanks = template.before.saturating_sub(digits.len());
        let fits = number.whole.len() <= template.before || template.roman;
        if template.after > 0 || !number.fraction.is_empty() {
            digits.push('.');
            digits.push_str(&number.fraction);
        }
        if !fits {
            digits = format!("{}.{}", "#".repeat(template.before), "#".repeat(template.after));
        }
        let digits = digits.into_bytes();
        let mut last = None;
        if template.fill && template.has_point {
            let point = digits.iter().position(|byte| *byte == b'.');
            last = point.map(|point| digits.iter().rposition(|byte| *byte != b'0').map_or(point, |at| at.max(point)));
            if let Some(relevant) = last.filter(|_| template.zero_end > blanks) {
                last = Some(relevant.max((template.zero_end - blanks).min(digits.len() - 1)));
            }
        }
        let sign_written = match (template.plus, template.minus) {
            (true, false) => false,
            (_, true) => true,
            _ => !number.negative && template.fill && template.anchored.is_none(),
        };
        let places = (template.before + template.after).saturating_sub(1);
        let places = places + usize::from(!sign_written && blanks == 0);
        let negative = number.negative;
        let (out, next, place) = (String::new(), 0, 0);
        Writer { template, negative, digits, next, blanks, place, places, last, sign_written, inside: false, out }
    }

    fn run(mut self) -> String {
        for element in &self.template.elements {
            match *element {
                Element::Digit | Element::Zero | Element::Point => self.digit(*element),
                Element::Group if self.inside => self.out.push(','),
                Element::Group | Element::Currency if self.template.fill && *element == Element::Group => {}
                Element::Group | Element::Currency => self.out.push(' '),
                Element::Minus => self.mark(self.negative, '-'),
                Element::Plus => self.mark(!self.negative, '+'),
                Element::Sign => self.out.push(if self.negative { '-' } else { '+' }),
                Element::Roman(capitals) => self.roman(capitals),
                Element::Ordinal(capitals) => self.ordinal(capitals),
                Element::Nothing => {}
                Element::Literal(character) => self.out.push(character),
            }
        }
        self.out
    }

    /// A sign that has a place of its own.
    fn mark(&mut self, applies: bool, sign: char) {
        match applies {
            true => self.out.push(sign),
            false if self.template.fill => {}
            false => self.out.push(' '),
        }
    }

    /// Whether the digit is the lone zero before a point: `.5` is written without it.
    fn is_bare_zero(&self) -> bool {
        let bare = self.template.zero_start.is_none() && self.template.after != 0;
        bare && self.next == 0 && self.digits.first() == Some(&b'0')
    }

    /// Whether nothing after the point is written.
    fn ends_at_point(&self) -> bool {
        self.last.is_some_and(|last| self.digits.get(last) == Some(&b'.'))
    }

    fn digit(&mut self, element: Element) {
        self.inside = false;
        let padded = self.template.zero_start.is_some_and(|start| start <= self.place);
        let starts = self.place >= self.blanks || self.template.zero_start == Some(self.place);
        if !self.sign_written && starts && (!self.is_bare_zero() || self.ends_at_point()) {
            self.leading_sign();
        }
        if self.place < self.blanks {
            match padded {
                true => {
                    self.out.push('0');
                    self.inside = true;
                }
                false if self.template.fill => {}
                false => self.out.push(' '),
            }
        } else {
            self.number_digit(element);
        }
        self.trailing_sign();
        self.place += 1;
    }

    fn number_digit(&mut self, element: Element) {
        let Some(&digit) = self.digits.get(self.next) else { return };
        if digit == b'.' {
            self.out.push('.');
        } else if self.last.is_some_and(|last| self.next > last) && element != Element::Zero {
        } else if self.is_bare_zero() {
            match self.template.fill {
                false => self.out.push(' '),
                true if self.ends_at_point() => self.out.push('0'),
                true => {}
            }
        } else {
            self.out.push(digit.into());
            self.inside = true;
        }
        self.next += 1;
    }

    fn leading_sign(&mut self) {
        match self.template.sign_anchor() {
            Some(Anchor::Before) => self.out.push(if self.negative { '-' } else { '+' }),
            Some(Anchor::After) => return,
            None if self.brackets() => self.out.push(if self.negative { '<' } else { ' ' }),
            None if self.negative => self.out.push('-'),
            None if self.template.fill => {}
            None => self.out.push(' '),
        }
        self.sign_written = true;
    }

    fn brackets(&self) -> bool {
        self.template.brackets && (self.negative || !self.template.fill)
    }

    fn trailing_sign(&mut self) {
        let mut end = self.places + usize::from(self.blanks > 0) + usize::from(self.template.has_point);
        if self.last == Some(self.next) {
            end = self.place;
        }
        if self.place + 1 != end {
            return;
        }
        if self.sign_written && self.brackets() {
            self.out.push(if self.negative { '>' } else { ' ' });
        } else if self.template.sign_anchor() == Some(Anchor::After) {
            self.out.push(if self.negative { '-' } else { '+' });
        }
    }

    fn roman(&mut self, capitals: bool) {
        let whole: String =
            self.digits.iter().take_while(|byte| **byte != b'.').map(|byte| char::from(*byte)).collect();
        let number = whole.parse::<u32>().ok().filter(|number| (1..4000).contains(number) && !self.negative);
        let text = number.map_or_else(|| "#".repeat(15), roman);
        let text = if capitals { text } else { text.to_lowercase() };
        match self.template.fill {
            true => self.out.push_str(&text),
            false => self.out.push_str(&format!("{text:>15}")),
        }
    }

    fn ordinal(&mut self, capitals: bool) {
        let digits = &self.digits;
        if self.template.roman || digits.first() == Some(&b'#') || self.negative || self.template.has_point {
            return;
        }
        let tens = digits.len().checked_sub(2).map(|at| digits[at]);
        let suffix = match digits.last() {
            _ if tens == Some(b'1') => "th",
            Some(b'1') => "st",
            Some(b'2') => "nd",
            Some(b'3') => "rd",
            _ => "th",
        };
        match capitals {
            true => self.out.push_str(&suffix.to_uppercase()),
            false => self.out.push_str(suffix),
        }
    }
}

/// A number below 4,000 in Roman numerals.
fn roman(mut number: u32) -> String {
    const NUMERALS: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut text = String::new();
    for (value, numeral) in NUMERALS {
        while number >= value {
            text.push_str(numeral);
            number -= value;
        }
    }
    text
}
