// SPDX-License-Identifier: MIT

//! The module itself: loading, parameters, unloading. The harness loads it again as it was after
//! each of these tests.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use kpipe_abi::uapi;
use nix::sys::stat::{major, minor};

use crate::harness::amount;
use crate::tools::module::{load, traces, unload};
use crate::tools::prelude::*;
use crate::tools::process::{become_ordinary_user, Process};
use crate::tools::subject::{device_path, device_paths, observe};
use crate::tools::{descriptors, private, transport};

/// The table.
pub const TESTS: &[Test] = &[
    says("A real cdev region with several minors, a class, nodes from devtmpfs."),
    plain!(there_is_a_node_for_each_queue_and_no_more),
    plain!(nodes_share_a_major_and_count_minors_from_0),
    plain!(nodes_get_the_mode_of_the_parameter),
    plain!(nodes_are_for_root_alone_by_default),
    plain!(queues_get_the_capacity_of_the_parameter),
    plain!(without_parameters_there_are_8_queues_of_64_kib),
    says("A bad value fails insmod with a clear line in the log and leaves nothing behind."),
    plain!(a_number_of_queues_out_of_bounds_is_refused).logs(&[
        "kpipe: parameter queues=0: must be",
        "kpipe: parameter queues=1025: must be",
    ]),
    plain!(a_capacity_that_a_queue_cannot_have_is_refused).logs(&[
        "kpipe: parameter capacity=0: must be",
        "kpipe: parameter capacity=3: must be",
        "kpipe: parameter capacity=65537: must be",
        "kpipe: parameter capacity=2147483648: must be",
        "kpipe: parameter capacity=9223372036854775808: must be",
    ]),
    says("devtmpfs takes a mode of 0 for none, and would make it 0600."),
    plain!(a_mode_that_a_node_cannot_have_is_refused).logs(&[
        "kpipe: parameter mode=01000: must be",
        "kpipe: parameter mode=00: must be",
    ]),
    plain!(what_is_no_number_is_refused).logs(&[
        "kpipe: `-1' invalid for parameter `queues'",
        "kpipe: `many' invalid for parameter `queues'",
    ]),
    says("The soft limit on the queue memory of a user is a parameter; 0 is none."),
    plain!(queues_get_the_soft_limit_of_the_parameter),
    plain!(a_soft_limit_of_0_is_none),
    says("rmmod is refused while a descriptor is open and otherwise frees everything."),
    plain!(rmmod_is_refused_while_a_descriptor_is_open),
    plain!(rmmod_is_refused_while_an_open_waits),
    plain!(rmmod_is_refused_while_a_private_queue_is_open),
    plain!(rmmod_and_a_path_to_a_private_queue_do_not_harm_each_other),
    plain!(rmmod_leaves_nothing_behind),
    plain!(the_module_can_be_loaded_and_removed_many_times).deadline_secs(30),
    plain!(loading_and_removing_race_with_open).deadline_secs(30),
    says("The queue's memory is allocated at first open and freed at last close."),
    plain!(unused_queues_have_no_memory),
    plain!(a_queue_frees_its_memory_at_the_last_close),
];

/// Loads the module anew.
#[track_caller]
fn reload(parameters: &str) {
    unload().expect("rmmod");
    load(parameters).unwrap_or_else(|e| panic!("insmod {parameters}: {e}"));
}

/// Loads the module with each of what it must refuse, and looks for what is left.
#[track_caller]
fn expect_refused(all_parameters: &[&str]) {
    unload().expect("rmmod");
    for parameters in all_parameters {
        expect(
            &format!("insmod {parameters}"),
            load(parameters),
            Err(Errno::EINVAL),
        );
        expect("left behind", traces(), vec![]);
    }
}

fn there_is_a_node_for_each_queue_and_no_more() {
    let many = amount(1024);
    for queues in [1, many] {
        reload(&format!("queues={queues}"));
        expect("nodes", device_paths().len(), queues);
        let nodes = std::fs::read_dir("/dev").expect("/dev").flatten();
        let names = nodes.filter_map(|node| node.file_name().into_string().ok());
        let ours = names.filter(|name| name.starts_with(uapi::NAME)).count();
        // And the clone node.
        expect("names in /dev", ours, queues + 1);
    }
    let last = many as u32 - 1;
    let info = observe(&device_path(last))
        .expect("open of the last")
        .info();
    expect("index of the last", info.index, last);
}

fn nodes_share_a_major_and_count_minors_from_0() {
    reload("queues=4");
    let mut majors = vec![];
    for (index, path) in device_paths().iter().enumerate() {
        let node = std::fs::metadata(path).expect("stat");
        assert!(
            node.file_type().is_char_device(),
            "{} is a {node:?}",
            path.display()
        );
        expect("minor", minor(node.rdev()), index as u64);
        expect(
            "index",
            observe(path).expect("open").info().index,
            index as u32,
        );
        majors.push(major(node.rdev()));
    }
    majors.dedup();
    expect("different majors", majors.len(), 1);
    let devices = std::fs::read_to_string("/proc/devices").expect("/proc/devices");
    let line = format!("{:3} {}", majors[0], uapi::NAME);
    assert!(
        devices.lines().any(|l| l == line),
        "no line {line:?} in:\n{devices}"
    );
}

fn mode_of(index: u32) -> u32 {
    std::fs::metadata(device_path(index)).expect("stat").mode() & 0o7777
}

fn nodes_get_the_mode_of_the_parameter() {
    for (parameter, wanted) in [("0777", 0o777), ("01", 1)] {
        reload(&format!("queues=2 mode={parameter}"));
        expect("mode of the first", mode_of(0), wanted);
        expect("mode of the second", mode_of(1), wanted);
    }
}

fn nodes_are_for_root_alone_by_default() {
    reload("");
    let node = std::fs::metadata(device_path(0)).expect("stat");
    expect(
        "mode, owner, group",
        (mode_of(0), node.uid(), node.gid()),
        (0o600, 0, 0),
    );
}

fn queues_get_the_capacity_of_the_parameter() {
    for capacity in [4096, 1 << 20] {
        reload(&format!("queues=2 capacity={capacity}"));
        let (_reader, writer) = Queue::new(Subject::Device).pair();
        expect("capacity", writer.info().capacity_bytes, capacity);
        expect("bytes that filled it", writer.fill(), capacity as usize);
    }
}

fn without_parameters_there_are_8_queues_of_64_kib() {
    reload("");
    expect("nodes", device_paths().len(), 8);
    let info = observe(&device_path(7)).expect("open").info();
    expect(
        "capacity",
        info.capacity_bytes,
        uapi::DEFAULT_CAPACITY_BYTES,
    );
}

fn a_number_of_queues_out_of_bounds_is_refused() {
    expect_refused(&["queues=0", "queues=1025"]);
}

fn a_capacity_that_a_queue_cannot_have_is_refused() {
    expect_refused(&[
        "capacity=0",
        "capacity=3",
        "capacity=65537",
        "capacity=2147483648",
        "capacity=9223372036854775808",
    ]);
}

fn a_mode_that_a_node_cannot_have_is_refused() {
    expect_refused(&["mode=01000", "mode=0"]);
}

fn what_is_no_number_is_refused() {
    expect_refused(&["queues=-1", "queues=many"]);
}

fn rmmod_is_refused_while_a_descriptor_is_open() {
    let queue = Queue::new(Subject::Device);
    for flags in [
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
        OFlag::O_RDWR,
        OFlag::O_ACCMODE,
    ] {
        let end = queue.must_open(flags);
        expect("rmmod", unload(), Err(Errno::EWOULDBLOCK));
        let duplicate = end.duplicate();
        end.close();
        expect(
            "rmmod with a duplicate left",
            unload(),
            Err(Errno::EWOULDBLOCK),
        );
        duplicate.close();
    }
    expect("rmmod with none left", unload(), Ok(()));
}

fn rmmod_is_refused_while_an_open_waits() {
    let queue = Queue::new(Subject::Device);
    let waiting = queue.clone();
    let part = Actor::asleep_in(Call::Open, "reader", move || {
        waiting.open(OFlag::O_RDONLY).map(drop)
    });
    expect("rmmod", unload(), Err(Errno::EWOULDBLOCK));
    queue.must_open(OFlag::O_WRONLY).close();
    expect("open", part.join(), Ok(()));
    expect("rmmod after it", unload(), Ok(()));
}

fn rmmod_is_refused_while_a_private_queue_is_open() {
    let (reader, writer) = private::pair(OFlag::O_CLOEXEC);
    expect("rmmod", unload(), Err(Errno::EWOULDBLOCK));
    reader.close();
    expect("rmmod with one end left", unload(), Err(Errno::EWOULDBLOCK));
    writer.close();
    let handle = private::handle();
    expect("rmmod with a handle", unload(), Err(Errno::EWOULDBLOCK));
    handle.close();
    expect("rmmod with nothing left", unload(), Ok(()));
}

/// What `O_PATH` opens is no end and no use of the module, but it keeps the inode.
fn rmmod_and_a_path_to_a_private_queue_do_not_harm_each_other() {
    let (reader, writer) = private::pair(OFlag::O_CLOEXEC);
    writer.write_all(b"never read");
    let path = reader.reopen(OFlag::O_PATH).expect("open with O_PATH");
    drop((reader, writer));
    let removed = unload();
    assert!(
        matches!(removed, Ok(()) | Err(Errno::EWOULDBLOCK)),
        "rmmod with a path: {removed:?}"
    );
    let again = path.reopen(OFlag::O_RDWR);
    if removed.is_ok() {
        assert!(again.is_err(), "opened without the module: {again:?}");
    }
    drop(again);
    path.close();
    if removed.is_err() {
        expect("rmmod without it", unload(), Ok(()));
    }
}

/// Queues that an ordinary user gets one after the other, by their capacity.
fn capacities_of_an_ordinary_user(queues: usize) {
    let handle = private::handle();
    Process::start("ordinary user", move || {
        become_ordinary_user();
        let mut all = vec![];
        for _ in 0..queues {
            let mut arguments = private::arguments(OFlag::O_CLOEXEC);
            all.push(private::ask(handle.as_fd(), &mut arguments).expect("IOC_PAIR"));
        }
        let (small, default) = (8192, uapi::DEFAULT_CAPACITY_BYTES as usize);
        for (n, (reader, _)) in all.iter().enumerate() {
            let wanted = if queues == MANY || n < 2 {
                default
            } else {
                small
            };
            expect(&format!("capacity of queue {n}"), reader.capacity(), wanted);
        }
    })
    .wait_success();
}

/// More than the default limit allows at the default capacity.
const MANY: usize = 1100;

fn queues_get_the_soft_limit_of_the_parameter() {
    reload("queues=1 user_soft_limit=131072");
    capacities_of_an_ordinary_user(4);
}

fn a_soft_limit_of_0_is_none() {
    reload("queues=1 user_soft_limit=0");
    descriptors::limit(4 * MANY as u64);
    capacities_of_an_ordinary_user(MANY);
}

fn rmmod_leaves_nothing_behind() {
    let (reader, writer) = Queue::new(Subject::Device).pair();
    writer.write_all(b"never read");
    drop((reader, writer));
    unload().expect("rmmod");
    expect("left behind", traces(), vec![]);
    expect("rmmod again", unload(), Err(Errno::ENOENT));
}

fn the_module_can_be_loaded_and_removed_many_times() {
    for _ in 0..amount(20) {
        reload("queues=3");
        let (reader, writer) = Queue::new(Subject::Device).pair();
        writer.write_all(b"x");
        expect("read", reader.read(1), Ok(b"x".to_vec()));
    }
}

fn loading_and_removing_race_with_open() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = is_over.clone();
    let opener = Actor::start("opener", move || {
        let queue = Queue::new(Subject::Device);
        while !stop.load(Ordering::Relaxed) {
            match queue.open(OFlag::O_RDWR) {
                Ok(end) => end.write_all(b"x"),
                // No node, no device behind the node, or a module on its way.
                Err(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => {}
                Err(e) => panic!("open while the module comes and goes: {e}"),
            }
            // On a transport it sleeps with the queue open, and else there would be no time to remove it in.
            if transport::is_chosen() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    });
    let mut removed = 0;
    while removed < amount(20) {
        match unload() {
            Ok(()) => {
                removed += 1;
                load("queues=1").expect("insmod");
            }
            Err(e) => expect("rmmod", e, Errno::EWOULDBLOCK),
        }
    }
    is_over.store(true, Ordering::Relaxed);
    opener.join();
}

/// Memory that nothing uses, in bytes.
fn free_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<usize>().ok())
        .expect("MemFree in /proc/meminfo")
        * 1024
}

/// Far more than anything else in the VM takes meanwhile.
const LARGE: usize = 128 << 20;

fn unused_queues_have_no_memory() {
    let before = free_bytes();
    reload(&format!("queues=64 capacity={LARGE}"));
    let taken = before.saturating_sub(free_bytes());
    assert!(
        taken < LARGE / 2,
        "64 unused queues of {LARGE} bytes take {taken} bytes"
    );
    let observer = observe(&device_path(0)).expect("open");
    let taken = before.saturating_sub(free_bytes());
    assert!(taken < LARGE / 2, "an observer of one takes {taken} bytes");
    drop(observer);
}

fn a_queue_frees_its_memory_at_the_last_close() {
    reload(&format!("queues=1 capacity={LARGE}"));
    let before = free_bytes();
    for _ in 0..3 {
        let end = Queue::new(Subject::Device).must_open(OFlag::O_RDWR);
        let taken = before.saturating_sub(free_bytes());
        assert!(
            taken > LARGE / 2,
            "an open queue of {LARGE} bytes takes only {taken} bytes"
        );
        end.close();
        let kept = before.saturating_sub(free_bytes());
        assert!(
            kept < LARGE / 2,
            "{kept} bytes are still taken after the last close"
        );
    }
}
