//! Putting pages together: each hub answers for the partitions that it keeps, and the caller gets one page.
//!
//! Every page ends at a place in the order of records (arrival, journal, number), which is the same at every hub. So pages of
//! the same query are merged up to the nearest of their ends, and the cursor of the whole serves every hub again.
//!
//! Promise: pure; no record twice, none left out below the cursor.
//! Absent: who is asked, and what is said when somebody does not answer.

use std::collections::VecDeque;

use millrace_journal::{Cursor, Order};
use millrace_model::{JournalId, Wall};
use serde_json::{Value, json};

/// Damaged places that a page lists, as a single hub does.
const DAMAGED_MAX: usize = millrace_journal::QUERY_DAMAGES_MAX;

/// One hub's page, or all of them together.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Sheet {
    /// Records in the order asked for, as JSON.
    pub(super) records: Vec<Value>,
    /// Where to go on.
    pub(super) next: Option<Cursor>,
    /// What could not be read.
    pub(super) damaged: Vec<Value>,
    /// How many places could not be read.
    pub(super) damages: u64,
}

impl Sheet {
    /// The page that a hub answered with.
    ///
    /// # Errors
    /// What of it is no page.
    pub(super) fn read(answer: &Value) -> Result<Self, String> {
        let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned();
        let next = match answer.get("next").and_then(Value::as_str) {
            Some(text) => Some(text.parse::<Cursor>().map_err(|error| error.to_string())?),
            None => None,
        };
        Ok(Self {
            records: list("records").ok_or("it lists no records")?,
            next,
            damaged: list("damaged").unwrap_or_default(),
            damages: answer.get("damages").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    /// As the API shows it.
    pub(super) fn shown(self) -> Value {
        let next = self.next.map(|cursor| cursor.to_string());
        json!({ "records": self.records, "next": next, "damaged": self.damaged, "damages": self.damages })
    }

    /// The page, ended earlier where it would have more than `bytes` as JSON. At least one record stays.
    ///
    /// # Errors
    /// A record that does not say where it stands.
    pub(super) fn within(mut self, bytes: usize, order: Order) -> Result<Self, String> {
        let mut left = bytes;
        let fits = self.records.iter().take_while(|record| {
            let size = record.to_string().len() + 1;
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        });
        let kept = fits.count().max(1);
        if kept >= self.records.len() {
            return Ok(self);
        }
        self.records.truncate(kept);
        let last = self.records.last().map(place).transpose()?;
        // A page never goes on behind the place where it ended before.
        self.next = match (last, self.next) {
            (Some(last), Some(next)) if order == Order::NewestFirst => Some(last.max(next)),
            (Some(last), Some(next)) => Some(last.min(next)),
            (last, next) => last.or(next),
        };
        Ok(self)
    }

    /// One page of at most `limit` records out of several of the same query.
    ///
    /// # Errors
    /// A record that does not say where it stands.
    pub(super) fn merged(sheets: Vec<Self>, order: Order, limit: usize) -> Result<Self, String> {
        let newest_first = order == Order::NewestFirst;
        let earlier = |a: &Cursor, b: &Cursor| if newest_first { a > b } else { a < b };
        // Behind the nearest end nobody has looked at everything.
        let edge = sheets.iter().filter_map(|sheet| sheet.next.clone());
        let edge = edge.reduce(|a, b| if earlier(&a, &b) { a } else { b });
        let mut whole = Self::default();
        let mut piles = Vec::with_capacity(sheets.len());
        for sheet in sheets {
            whole.damages = whole.damages.saturating_add(sheet.damages);
            whole.damaged.extend(sheet.damaged);
            let placed = sheet.records.into_iter().map(|record| Ok((place(&record)?, record)));
            piles.push(placed.collect::<Result<VecDeque<(Cursor, Value)>, String>>()?);
        }
        whole.damaged.truncate(DAMAGED_MAX);
        let mut last: Option<Cursor> = None;
        loop {
            let first = piles.iter().enumerate().filter_map(|(at, pile)| Some((at, &pile.front()?.0)));
            let first = first.reduce(|a, b| if earlier(b.1, a.1) { b } else { a });
            let Some((at, reached)) = first.map(|(at, place)| (at, place.clone())) else {
                whole.next = edge;
                return Ok(whole);
            };
            if edge.as_ref().is_some_and(|edge| earlier(edge, &reached)) {
                whole.next = edge;
                return Ok(whole);
            }
            if whole.records.len() >= limit {
                whole.next = last;
                return Ok(whole);
            }
            let taken = piles.get_mut(at).and_then(VecDeque::pop_front);
            // Two hubs that both answered for a partition have the same record at the same place.
            if let Some((place, record)) = taken.filter(|(place, _)| Some(place) != last.as_ref()) {
                whole.records.push(record);
                last = Some(place);
            }
        }
    }
}

/// Where a record stands in the order.
fn place(record: &Value) -> Result<Cursor, String> {
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| record.get(key).and_then(Value::as_i64);
    let read = || -> Option<Cursor> {
        let journal = JournalId {
            device: text("device").parse().ok()?,
            incarnation: text("incarnation").parse().ok()?,
            lane: text("lane").parse().ok()?,
        };
        let seq = record.get("seq").and_then(Value::as_u64)?;
        Some(Cursor::at(Wall(number("wall_us")?), journal, seq))
    };
    read().ok_or_else(|| "a record does not say where it stands".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, proptest};

    use super::*;

    fn record(wall: i64, device: u8, seq: u64) -> Value {
        json!({
            "device": format!("{device:02x}").repeat(16), "incarnation": "0000000000000001", "lane": "normal",
            "seq": seq, "wall_us": wall,
        })
    }

    fn sheet(records: &[Value], next: Option<&Value>) -> Sheet {
        Sheet { records: records.to_vec(), next: next.map(|at| place(at).unwrap()), ..Sheet::default() }
    }

    #[test]
    fn pages_are_merged_up_to_the_nearest_end() {
        let (a, b, c, d) = (record(1, 1, 1), record(2, 2, 1), record(3, 1, 2), record(4, 2, 2));
        let one = sheet(&[a.clone(), c.clone()], Some(&c));
        let other = sheet(&[b.clone(), d.clone()], None);
        let whole = Sheet::merged(vec![one, other], Order::OldestFirst, 10).unwrap();
        assert_eq!(
            whole.records,
            [a.clone(), b.clone(), c.clone()],
            "the first hub may have more before the last"
        );
        assert_eq!(whole.next, Some(place(&c).unwrap()));
        let short = Sheet::merged(
            vec![sheet(&[a.clone(), c], None), sheet(&[b.clone(), d], None)],
            Order::OldestFirst,
            2,
        );
        let short = short.unwrap();
        assert_eq!((short.records, short.next), (vec![a, b.clone()], Some(place(&b).unwrap())));
    }

    #[test]
    fn newest_first_and_doubled_answers_are_understood() {
        let (a, b) = (record(1, 1, 1), record(2, 2, 1));
        let both = vec![sheet(&[b.clone(), a.clone()], None), sheet(std::slice::from_ref(&b), None)];
        let whole = Sheet::merged(both, Order::NewestFirst, 10).unwrap();
        assert_eq!((whole.records, whole.next), (vec![b, a], None));
        assert!(Sheet::merged(vec![sheet(&[json!({})], None)], Order::NewestFirst, 1).is_err());
    }

    #[test]
    fn a_page_that_is_too_large_ends_earlier_and_goes_on_behind_its_last_record() {
        let records: Vec<Value> = (1..=9).map(|n| record(n, 1, 1)).collect();
        let size = records[0].to_string().len() + 1;
        let cut = sheet(&records, None).within(size * 3, Order::OldestFirst).unwrap();
        assert_eq!((cut.records.len(), cut.next), (3, Some(place(&records[2]).unwrap())));
        let whole = sheet(&records, None).within(size * 9, Order::OldestFirst).unwrap();
        assert_eq!((whole.records.len(), whole.next), (9, None));
        assert_eq!(sheet(&records, None).within(1, Order::OldestFirst).unwrap().records.len(), 1);
    }

    proptest! {
        /// Walking page by page over several hubs finds every record once, in order.
        #[test]
        fn a_walk_over_several_hubs_is_a_walk_over_all(
            places in proptest::collection::btree_set((0_i64..40, 0_u8..6, 1_u64..4), 0..60),
            hub_limit in 1_usize..7,
            limit in 1_usize..9,
            newest in any::<bool>(),
        ) {
            let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
            let mut all: Vec<Value> = places.iter().map(|(wall, device, seq)| record(*wall, *device, *seq)).collect();
            if newest {
                all.reverse();
            }
            let behind = |record: &Value, cursor: &Option<Cursor>| cursor.as_ref().is_none_or(|cursor| {
                let at = place(record).unwrap();
                if newest { at < *cursor } else { at > *cursor }
            });
            // Hub n answers for the devices whose number leaves n.
            let page = |hub: u8, cursor: &Option<Cursor>| {
                let mine: Vec<Value> = all.iter().filter(|record| {
                    let device = u8::from_str_radix(&record["device"].as_str().unwrap()[..2], 16).unwrap();
                    device % 3 == hub && behind(record, cursor)
                }).cloned().collect();
                let shown: Vec<Value> = mine.iter().take(hub_limit).cloned().collect();
                let next = (mine.len() > shown.len()).then(|| shown.last().cloned()).flatten();
                sheet(&shown, next.as_ref())
            };
            let (mut found, mut cursor) = (Vec::new(), None);
            for _ in 0..200 {
                let sheets = (0..3).map(|hub| page(hub, &cursor)).collect();
                let whole = Sheet::merged(sheets, order, limit).unwrap();
                assert!(whole.records.len() <= limit);
                found.extend(whole.records);
                cursor = whole.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(cursor, None, "the walk ends");
            assert_eq!(found.len(), found.iter().map(Value::to_string).collect::<BTreeSet<_>>().len());
            assert_eq!(found, all);
        }
    }
}
