//! Which event is what: the arithmetic of the benchmark.
//!
//! Of every 50 events the first is a person, the next three are auctions, the other 46 are bids. Everything about an
//! event follows from the seed and the event's number, so that any stretch of the stream can be made by itself.

use crate::mix::mix;

/// Events of each kind among every [`Table::EPOCH`].
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;

/// The first ids, so that ids of different kinds look different from counts.
const FIRST_PERSON: u64 = 1000;
const FIRST_AUCTION: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;

/// How many auctions are open and people active at a time, and how far bids run ahead of them.
const AUCTIONS_IN_FLIGHT: u64 = 100;
const ACTIVE_PEOPLE: u64 = 1000;
const AUCTION_LEAD: u64 = 10;
const PERSON_LEAD: u64 = 10;

/// One id of so many is hot at a time.
const HOT_ONE_OF: u64 = 100;
/// All but one of so many draws take the hot one.
const HOT_AUCTION_RATIO: u64 = 2;
const HOT_BIDDER_RATIO: u64 = 4;
const HOT_SELLER_RATIO: u64 = 4;

/// The three kinds of events, each a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Person,
    Auction,
    Bid,
}

impl Table {
    /// After so many events the kinds repeat.
    pub const EPOCH: u64 = 50;

    /// The table with this name.
    pub fn from_name(name: &str) -> Option<Table> {
        match name {
            "person" => Some(Table::Person),
            "auction" => Some(Table::Auction),
            "bid" => Some(Table::Bid),
            _ => None,
        }
    }

    /// Which places of an epoch its events have.
    pub(super) fn places(self) -> std::ops::Range<u64> {
        match self {
            Table::Person => 0..PERSONS,
            Table::Auction => PERSONS..PERSONS + AUCTIONS,
            Table::Bid => PERSONS + AUCTIONS..Table::EPOCH,
        }
    }
}

/// A stream of random draws; each event has one of every stream.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Draw {
    Auction = 1,
    Bidder,
    Price,
    Channel,
    Extra,
    Name,
    Description,
    Seller,
    Category,
    Reserve,
    Expires,
    Email,
    Card,
    City,
    State,
}

/// What all events follow from.
#[derive(Clone, Debug)]
pub struct Generator {
    seed: u64,
    /// Event time of the first event, in microseconds.
    base_time: i64,
    /// Event time between two events, in nanoseconds.
    spacing: u64,
}

impl Generator {
    /// The published base time, 2015-07-15 00:00:00 UTC, in microseconds.
    pub const BASE_TIME: i64 = 1_436_918_400_000_000;
    /// The published first rate: 10,000 events per second of event time.
    pub const SPACING: u64 = 100_000;

    /// `base_time` in microseconds since 1970, `spacing` in nanoseconds.
    pub fn new(seed: u64, base_time: i64, spacing: u64) -> Generator {
        Generator { seed: mix(seed), base_time, spacing }
    }

    /// 64 random bits of an event.
    #[inline(always)]
    pub(super) fn draw(&self, event: u64, draw: Draw) -> u64 {
        mix(event.wrapping_add(self.seed).wrapping_add((draw as u64).wrapping_mul(0xD1B5_4A32_D192_ED03)))
    }

    /// Event time in microseconds.
    #[inline(always)]
    pub(super) fn time(&self, event: u64) -> i64 {
        self.base_time.wrapping_add((event.wrapping_mul(self.spacing) / 1000) as i64)
    }

    /// The id of the person or auction that an event of that kind is.
    pub(super) fn person(event: u64) -> u64 {
        FIRST_PERSON + last_person(event)
    }

    pub(super) fn auction(event: u64) -> u64 {
        FIRST_AUCTION + last_auction(event)
    }

    /// The auction that a bid is for.
    #[inline(always)]
    pub(super) fn bid_auction(&self, event: u64) -> u64 {
        let random = self.draw(event, Draw::Auction);
        let last = last_auction(event);
        let first = last.saturating_sub(AUCTIONS_IN_FLIGHT);
        let hot = last / HOT_ONE_OF * HOT_ONE_OF;
        let cold = first + below(random, last - first + 1 + AUCTION_LEAD);
        FIRST_AUCTION + if random.is_multiple_of(HOT_AUCTION_RATIO) { cold } else { hot }
    }

    /// Who makes a bid.
    #[inline(always)]
    pub(super) fn bidder(&self, event: u64) -> u64 {
        let random = self.draw(event, Draw::Bidder);
        let last = last_person(event);
        let hot = last / HOT_ONE_OF * HOT_ONE_OF + 1;
        FIRST_PERSON + if random.is_multiple_of(HOT_BIDDER_RATIO) { active_person(random, last) } else { hot }
    }

    /// Who opens an auction.
    pub(super) fn seller(&self, event: u64) -> u64 {
        let random = self.draw(event, Draw::Seller);
        let last = last_person(event);
        let hot = last / HOT_ONE_OF * HOT_ONE_OF;
        FIRST_PERSON + if random.is_multiple_of(HOT_SELLER_RATIO) { active_person(random, last) } else { hot }
    }

    pub(super) fn category(&self, event: u64) -> u64 {
        FIRST_CATEGORY + below(self.draw(event, Draw::Category), CATEGORIES)
    }

    /// When an auction closes: on average as long after its start as the auctions in flight take to appear.
    pub(super) fn expires(&self, event: u64) -> i64 {
        let start = self.time(event);
        let events = AUCTIONS_IN_FLIGHT * Table::EPOCH / AUCTIONS;
        let horizon = (self.time(event + events) - start) / 1000;
        let milliseconds = 1 + below(self.draw(event, Draw::Expires), (horizon.max(0) as u64 * 2).max(1)) as i64;
        start + milliseconds * 1000
    }
}

/// The person of the event's epoch, counted from 0.
#[inline(always)]
fn last_person(event: u64) -> u64 {
    event / Table::EPOCH * PERSONS
}

/// The last auction up to the event, counted from 0.
#[inline(always)]
fn last_auction(event: u64) -> u64 {
    let (epoch, place) = (event / Table::EPOCH, event % Table::EPOCH);
    (epoch * AUCTIONS + place.min(PERSONS + AUCTIONS - 1)).saturating_sub(PERSONS)
}

#[inline(always)]
fn active_person(random: u64, last: u64) -> u64 {
    let people = last + 1;
    let active = people.min(ACTIVE_PEOPLE);
    people - active + below(random, active + PERSON_LEAD)
}

/// A number below `bound` from the high half of the random bits.
#[inline(always)]
pub(super) fn below(random: u64, bound: u64) -> u64 {
    ((random >> 32) * (bound & 0xFFFF_FFFF)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_and_bids_are_for_auctions_there_are_or_soon_will_be() {
        let generator = Generator::new(7, Generator::BASE_TIME, Generator::SPACING);
        assert_eq!([0, 50, 100].map(Generator::person), [1000, 1001, 1002]);
        assert_eq!([1, 2, 3, 51, 52].map(Generator::auction), [1000, 1001, 1002, 1003, 1004]);
        for event in (4..100_000).filter(|event| event % 50 >= 4) {
            let auction = generator.bid_auction(event) - FIRST_AUCTION;
            assert!(auction <= last_auction(event) + AUCTION_LEAD && auction + 200 >= last_auction(event));
            assert!(generator.bidder(event) - FIRST_PERSON <= last_person(event) + PERSON_LEAD + 1);
        }
    }

    #[test]
    fn half_of_the_bids_are_hot() {
        let generator = Generator::new(7, 0, 1);
        let bids = (1_000_004..1_100_000).filter(|event| event % 50 >= 4);
        let (mut hot, mut all) = (0, 0);
        for event in bids {
            all += 1;
            hot += usize::from(generator.bid_auction(event).is_multiple_of(HOT_ONE_OF));
        }
        assert!((0.48..0.54).contains(&(hot as f64 / all as f64)), "{hot} of {all}");
    }
}
