//! The texts of the benchmark, made once. Columns hold views into them.

use super::generator::below;
use crate::mix::mix;
use arrow::array::make_view;
use arrow::buffer::Buffer;
use std::sync::LazyLock;

/// Channels that half of all bids come through, and the number of other ones.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const OTHER_CHANNELS: u64 = 10_000;

/// Random letters, of which any stretch is a random text.
const LETTERS: usize = 1 << 16;
const LONGEST: usize = 1 << 10;

const FIRST_NAMES: &[&str] =
    &["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: &[&str] = &["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: &[&str] =
    &["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: &[&str] = &["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Texts in one buffer, with a view of each.
pub(super) struct Words {
    pub buffer: Buffer,
    views: Vec<u128>,
}

impl Words {
    fn new(texts: impl Iterator<Item = String>) -> Words {
        let mut bytes = Vec::new();
        let mut views = Vec::new();
        for text in texts {
            views.push(make_view(text.as_bytes(), 0, bytes.len() as u32));
            bytes.extend_from_slice(text.as_bytes());
        }
        Words { buffer: Buffer::from_vec(bytes), views }
    }

    /// One of the words.
    #[inline(always)]
    pub fn pick(&self, random: u64) -> u128 {
        self.views[below(random, self.views.len() as u64) as usize]
    }

    /// The word of a bid's channel, or its address: the two draw alike.
    #[inline(always)]
    pub fn pick_channel(&self, random: u64) -> u128 {
        let hot = HOT_CHANNELS.len() as u64;
        let index = if random.is_multiple_of(2) { hot + below(random, OTHER_CHANNELS) } else { below(random, hot) };
        self.views[index as usize]
    }
}

pub(super) static CHANNELS: LazyLock<Words> = LazyLock::new(|| {
    let hot = HOT_CHANNELS.iter().map(|name| (*name).to_owned());
    Words::new(hot.chain((0..OTHER_CHANNELS).map(|number| format!("channel-{number}"))))
});

/// The addresses of the channels, in their order.
pub(super) static URLS: LazyLock<Words> = LazyLock::new(|| {
    let address = |number: u64| {
        let part = |which: u64| random_text(mix(number * 4 + which), 5);
        let base = format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", part(1), part(2), part(3));
        // One in ten does not name its channel.
        match mix(number) % 10 {
            0 => base,
            _ => format!("{base}&channel_id={}", mix(number) >> 33),
        }
    };
    Words::new((0..HOT_CHANNELS.len() as u64 + OTHER_CHANNELS).map(address))
});

pub(super) static NAMES: LazyLock<Words> = LazyLock::new(|| {
    let names = FIRST_NAMES.iter().flat_map(|first| LAST_NAMES.iter().map(move |last| format!("{first} {last}")));
    Words::new(names)
});

pub(super) static CITY_NAMES: LazyLock<Words> =
    LazyLock::new(|| Words::new(CITIES.iter().map(|city| (*city).to_owned())));

pub(super) static STATE_NAMES: LazyLock<Words> =
    LazyLock::new(|| Words::new(STATES.iter().map(|state| (*state).to_owned())));

/// Random letters.
pub(super) static POOL: LazyLock<Buffer> =
    LazyLock::new(|| Buffer::from_vec(random_text(0, LETTERS + LONGEST).into_bytes()));

fn random_text(seed: u64, length: usize) -> String {
    let letter = |at: usize| (b'a' + below(mix(seed.wrapping_add(mix(at as u64))), 26) as u8) as char;
    (0..length).map(letter).collect()
}

/// A view of `length` random letters (at most 1,024) of `pool`, which is [`POOL`].
#[inline(always)]
pub(super) fn letters(pool: &[u8], random: u64, length: usize) -> u128 {
    let start = below(random, LETTERS as u64) as usize;
    let length = length.min(LONGEST);
    make_view(&pool[start..start + length], 0, start as u32)
}
