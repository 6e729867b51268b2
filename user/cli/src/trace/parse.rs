// SPDX-License-Identifier: MIT

//! From what tracefs gives to [`Event`]s: the descriptions of records (`events/kpipe/NAME/format`) and the
//! pages of a ring buffer (`per_cpu/cpuN/trace_pipe_raw`), as `Documentation/trace/ring-buffer-map.rst`
//! and `events/header_event` have them. The text of `trace` would be easier, but has microseconds only.

use super::event::{Event, Kind, Side};
use std::collections::HashMap;

/// Bytes of a page of the ring buffer.
pub const PAGE_BYTES: usize = 4096;

/// Where the data of a page begins, after its time and its length.
const DATA_START: usize = 16;

/// The bits of a page's length that are one; above are flags.
const LENGTH_MASK: u64 = 0xf_ffff;

/// `type_len` of a record that is none.
const PADDING: u32 = 29;
/// `type_len` of a time that is too long for 27 bits.
const TIME_EXTEND: u32 = 30;
/// `type_len` of an absolute time.
const TIME_STAMP: u32 = 31;

/// The bits of an absolute time that a record has; those above are as before.
const TIME_STAMP_BITS: u32 = 59;

/// In `common_flags`: `TRACE_FLAG_HARDIRQ` and `TRACE_FLAG_SOFTIRQ` of `include/linux/trace_events.h`.
const FLAGS_INTERRUPT: i64 = 0x08 | 0x10;

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    offset: usize,
    len_bytes: usize,
    is_signed: bool,
}

impl Field {
    /// Its value in a record, if it lies within.
    fn value(self, record: &[u8]) -> Option<i64> {
        let bytes = record.get(self.offset..self.offset.checked_add(self.len_bytes)?)?;
        let is_negative = self.is_signed && bytes.last()? & 0x80 != 0;
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide.get_mut(..self.len_bytes)?.copy_from_slice(bytes);
        Some(i64::from_le_bytes(wide))
    }
}

/// How the records of one kind look.
struct Format {
    kind: Kind,
    fields: HashMap<String, Field>,
}

/// How all kinds of records look, by their numbers.
#[derive(Default)]
pub struct Formats(HashMap<i64, Format>);

impl Formats {
    /// Adds a kind, from the text of its `format`. `None`: it is not understood.
    pub fn add(&mut self, kind: Kind, text: &str) -> Option<()> {
        let number = text.lines().find_map(|line| line.strip_prefix("ID: "))?;
        let fields = text.lines().filter_map(field).collect();
        self.0
            .insert(number.trim().parse().ok()?, Format { kind, fields });
        Some(())
    }

    fn event(&self, record: &[u8], time_ns: u64, cpu: u32) -> Option<Event> {
        let number = i64::from(u16::from_le_bytes(record.get(..2)?.try_into().ok()?));
        let format = self.0.get(&number)?;
        let value = |name: &str| format.fields.get(name)?.value(record);
        Some(Event {
            time_ns,
            cpu,
            pid: value("common_pid")? as i32,
            is_in_interrupt: value("common_flags")? & FLAGS_INTERRUPT != 0,
            kind: format.kind,
            queue: value("queue")? as i32,
            request: value("request")? as u64,
            bytes: value("bytes")? as u64,
            side: value("side").map(|side| if side == 0 { Side::Read } else { Side::Write }),
            result: value("result"),
        })
    }

    /// The events of a page of the ring buffer of `cpu`. `None`: it is not understood.
    pub fn events_of_page(&self, page: &[u8], cpu: u32) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        let mut time_ns = u64::from_le_bytes(page.get(..8)?.try_into().ok()?);
        let flags_and_len = u64::from_le_bytes(page.get(8..DATA_START)?.try_into().ok()?);
        let len_bytes = (flags_and_len & LENGTH_MASK) as usize;
        let mut rest = page.get(DATA_START..DATA_START + len_bytes)?;
        while let Some(head) = word(rest, 0) {
            let (type_len, delta) = (head & 0x1f, u64::from(head >> 5));
            let long = || word(rest, 1);
            let used_bytes = match type_len {
                PADDING if delta == 0 => break,
                PADDING => {
                    time_ns = time_ns.wrapping_add(delta);
                    4 + long()? as usize
                }
                TIME_EXTEND => {
                    time_ns = time_ns.wrapping_add(delta + (u64::from(long()?) << 27));
                    8
                }
                TIME_STAMP => {
                    let low = delta + (u64::from(long()?) << 27);
                    time_ns = ((time_ns >> TIME_STAMP_BITS) << TIME_STAMP_BITS) | low;
                    8
                }
                _ => {
                    time_ns = time_ns.wrapping_add(delta);
                    let (start, used_bytes) = match type_len {
                        0 => (8, 4 + long()? as usize),
                        words => (4, 4 + 4 * words as usize),
                    };
                    let record = rest.get(start..used_bytes)?;
                    events.extend(self.event(record, time_ns, cpu));
                    used_bytes
                }
            };
            rest = rest.get(used_bytes..)?;
        }
        Some(events)
    }
}

/// The 32-bit number at `index`.
fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let bytes = bytes.get(4 * index..4 * index + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A line of a `format`: `field:u64 request; offset:8; size:8; signed:0;`, with tabs in between.
fn field(line: &str) -> Option<(String, Field)> {
    let mut name = None;
    let (mut offset, mut len_bytes, mut is_signed) = (None, None, false);
    for part in line.trim().split(';') {
        match part.trim().split_once(':') {
            Some(("field", declaration)) => name = declaration.split_whitespace().last(),
            Some(("offset", number)) => offset = number.parse().ok(),
            Some(("size", number)) => len_bytes = number.parse().ok(),
            Some(("signed", number)) => is_signed = number == "1",
            _ => {}
        }
    }
    let field = Field {
        offset: offset?,
        len_bytes: len_bytes?,
        is_signed,
    };
    Some((name?.to_owned(), field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVE: &str = "name: kpipe_leave
ID: 1670
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:u64 request;	offset:8;	size:8;	signed:0;
	field:u64 bytes;	offset:16;	size:8;	signed:0;
	field:s32 queue;	offset:24;	size:4;	signed:1;
	field:u8 side;	offset:28;	size:1;	signed:0;
	field:s64 result;	offset:32;	size:8;	signed:1;

print fmt: \"queue=%d\", REC->queue";

    fn formats() -> Formats {
        let mut formats = Formats::default();
        formats.add(Kind::Leave, LEAVE).unwrap();
        formats
    }

    fn record(pid: i32, request: u64, queue: i32, result: i64) -> Vec<u8> {
        let mut record = vec![0; 40];
        record[..2].copy_from_slice(&1670u16.to_le_bytes());
        record[2] = 0x10;
        record[4..8].copy_from_slice(&pid.to_le_bytes());
        record[8..16].copy_from_slice(&request.to_le_bytes());
        record[24..28].copy_from_slice(&queue.to_le_bytes());
        record[28] = 1;
        record[32..40].copy_from_slice(&result.to_le_bytes());
        record
    }

    fn head(type_len: u32, delta: u32) -> Vec<u8> {
        (type_len | (delta << 5)).to_le_bytes().to_vec()
    }

    /// A page that begins at 1,000 ns.
    fn page(data: &[Vec<u8>]) -> Vec<u8> {
        let data = data.concat();
        let mut page = 1000u64.to_le_bytes().to_vec();
        // With the flag that events were lost before.
        page.extend((data.len() as u64 | (1 << 31)).to_le_bytes());
        page.extend(data);
        page.resize(PAGE_BYTES, 0);
        page
    }

    #[test]
    fn records_have_their_fields_and_the_sum_of_the_times() {
        let page = page(&[
            head(10, 5),
            record(7, 1, -1, -11),
            head(TIME_EXTEND, 3),
            2u32.to_le_bytes().to_vec(),
            head(0, 1),
            44u32.to_le_bytes().to_vec(),
            record(8, 2, 3, 64),
        ]);
        let events = formats().events_of_page(&page, 1).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(
            events[0],
            Event {
                time_ns: 1005,
                cpu: 1,
                pid: 7,
                is_in_interrupt: true,
                kind: Kind::Leave,
                queue: -1,
                request: 1,
                bytes: 0,
                side: Some(Side::Write),
                result: Some(-11),
            }
        );
        assert_eq!(events[1].time_ns, 1005 + 3 + (2 << 27) + 1);
        assert_eq!((events[1].queue, events[1].result), (3, Some(64)));
    }

    #[test]
    fn padding_and_records_of_others_are_passed_over() {
        let mut other = record(9, 9, 9, 9);
        other[0] = 1;
        let page = page(&[
            head(PADDING, 1),
            8u32.to_le_bytes().to_vec(),
            vec![0; 4],
            head(10, 1),
            other,
            head(10, 1),
            record(1, 1, 1, 1),
            head(PADDING, 0),
            vec![0xff; 16],
        ]);
        let events = formats().events_of_page(&page, 0).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].time_ns, 1003);
    }

    #[test]
    fn an_absolute_time_replaces_the_one_before() {
        let page = page(&[
            head(TIME_STAMP, 9),
            1u32.to_le_bytes().to_vec(),
            head(10, 0),
            record(1, 1, 1, 1),
        ]);
        let events = formats().events_of_page(&page, 0).unwrap();
        assert_eq!(events[0].time_ns, (1 << 27) + 9);
    }

    #[test]
    fn what_is_cut_off_is_no_page() {
        let whole = page(&[head(10, 5), record(7, 1, -1, -11)]);
        assert!(formats().events_of_page(&whole[..40], 0).is_none());
        let cut = page(&[head(10, 5), vec![0; 8]]);
        assert!(formats().events_of_page(&cut, 0).is_none());
    }

    #[test]
    fn a_text_without_a_number_is_no_format() {
        assert!(Formats::default().add(Kind::Enter, "format:").is_none());
    }
}
