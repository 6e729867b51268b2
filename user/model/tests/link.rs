// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The link between a writer and a reader: what goes in comes out, whole requests at a time.

use kpipe_model::link::{Arrival, Block, Gone, Link, Request};
use proptest::prelude::*;

fn request(end: u32) -> Request {
    Request {
        end,
        records: 1,
        number: 0,
        submitted_ns: 0,
    }
}

fn link_at(start: u32, most_bytes: usize) -> Link {
    let mut link = Link::new();
    link.reset(start, most_bytes);
    link
}

/// What happens to a link.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(u32),
    Complete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(1u32..20_000).prop_map(Step::Submit), Just(Step::Complete),];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn all_arrives_in_order_and_in_whole_requests(
        steps in steps(),
        start in any::<u32>(),
        most_bytes in 1usize..8192,
    ) {
        let mut link = link_at(start, most_bytes);
        let mut ends = vec![start];
        let mut in_progress: Option<Block> = None;
        let mut head = start;
        let mut submitted: u32 = 0;
        let mut arrived: u32 = 0;
        let mut complete = |link: &mut Link, in_progress: &mut Option<Block>, ends: &[u32]| {
            let arrival = link.complete();
            // Nothing completes that was not started.
            prop_assert_eq!(arrival.is_some(), in_progress.is_some());
            if let Some(arrival) = arrival {
                prop_assert!(ends.contains(&arrival.head));
                let new = arrival.head.wrapping_sub(head);
                let end = *ends.last().unwrap();
                prop_assert!(new <= end.wrapping_sub(head));
                head = arrival.head;
                arrived += arrival.records;
                *in_progress = arrival.next;
            }
            Ok(head)
        };
        for step in steps {
            match step {
                Step::Submit(len_bytes) => {
                    let end = ends.last().unwrap().wrapping_add(len_bytes);
                    ends.push(end);
                    submitted += 1;
                    let block = link.submit(request(end)).unwrap();
                    // One transfer at a time.
                    prop_assert_eq!(block.is_some(), in_progress.is_none());
                    in_progress = in_progress.or(block);
                }
                Step::Complete => {
                    complete(&mut link, &mut in_progress, &ends)?;
                }
            }
            prop_assert_eq!(link.current(), in_progress);
            if let Some(block) = in_progress {
                prop_assert!((1..=most_bytes).contains(&block.len_bytes));
            }
        }
        // At last everything is there, and nothing is going on.
        let mut last = head_of(&ends, start);
        while in_progress.is_some() {
            last = complete(&mut link, &mut in_progress, &ends)?;
        }
        if submitted > 0 {
            prop_assert_eq!(last, *ends.last().unwrap());
        }
        prop_assert_eq!(arrived, submitted);
        prop_assert_eq!(link.current(), None);
    }
}

/// Where a link stands that nothing was completed on.
fn head_of(ends: &[u32], start: u32) -> u32 {
    ends.last().copied().unwrap_or(start)
}

#[test]
fn a_request_larger_than_a_transfer_arrives_with_its_last_byte() {
    let mut link = link_at(u32::MAX - 10, 100);
    let end = (u32::MAX - 10).wrapping_add(250);
    assert!(link.submit(request(end)).unwrap().is_some());
    for is_last in [false, false, true] {
        let arrival = link.complete().unwrap();
        assert_eq!(arrival.head == end, is_last);
        assert_eq!(arrival.next.is_none(), is_last);
    }
}

#[test]
fn writes_during_a_transfer_share_the_next_one() {
    let mut link = link_at(0, usize::MAX);
    assert_eq!(link.submit(request(10)).unwrap().unwrap().len_bytes, 10);
    for end in [20, 30, 40] {
        assert_eq!(link.submit(request(end)), Ok(None));
    }
    let Arrival { head, next, .. } = link.complete().unwrap();
    assert_eq!((head, next.unwrap().len_bytes), (10, 30));
    let Arrival {
        head,
        records,
        next,
    } = link.complete().unwrap();
    assert_eq!((head, records, next), (40, 3, None));
}

#[test]
fn nothing_travels_when_the_device_is_gone() {
    let mut link = link_at(0, usize::MAX);
    assert!(link.submit(request(10)).unwrap().is_some());
    link.fail();
    assert_eq!(link.current(), None);
    assert_eq!(link.complete(), None);
    assert_eq!(link.submit(request(20)), Err(Gone));
    link.reset(20, 1);
    assert!(link.submit(request(30)).unwrap().is_some());
}
