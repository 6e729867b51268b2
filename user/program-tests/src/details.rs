// SPDX-License-Identifier: MIT

//! What pipe(2) promises in small: Python scripts that say the same on the device and on real pipes.

use crate::run::Place;
use crate::Test;

/// The tests.
pub const TESTS: &[Test] = &[
    ("details::flags_and_kind_are_those_of_a_pipe", flags, always),
    ("details::thousands_of_pipes_at_once", thousands, always),
    (
        "details::descriptors_run_out_as_with_pipes",
        descriptors,
        always,
    ),
    ("details::many_threads_make_pipes", threads, always),
    ("details::sizes_are_asked_and_set", sizes, always),
    (
        "details::a_program_that_closes_all_descriptors_keeps_the_device",
        closed,
        always,
    ),
    ("details::packets_stay_packets", packets, always),
    (
        "details::a_numbered_queue_passes_for_a_fifo",
        disguise,
        always,
    ),
    ("details::an_end_is_opened_again_by_name", reopened, always),
];

fn always() -> Result<(), String> {
    Ok(())
}

/// With the option only; tokio and other event loops ask.
fn disguise(place: &Place) -> Result<(), String> {
    let script = "import os, stat
queue = os.open('/dev/kpipe0', os.O_RDWR)
print(stat.S_ISFIFO(os.fstat(queue).st_mode), stat.S_ISCHR(os.stat('/dev/kpipe0').st_mode))
os.close(os.pipe()[0])";
    let program = place.program(["python3", "-c", script]);
    let plain = program.on_the_device()?.stdout;
    let disguised = program.option("--report-fifo").on_the_device()?;
    let disguised = disguised.at_least(1, "stats")?.stdout;
    if (plain.as_str(), disguised.as_str()) == ("False True\n", "True True\n") {
        return Ok(());
    }
    Err(format!(
        "without the option {plain:?}, with it {disguised:?}"
    ))
}

/// Runs a script on both.
fn python(place: &Place, script: &str) -> Result<(), String> {
    let script = format!(
        "import errno, fcntl, os, resource, select, stat, subprocess, sys, threading\n{script}"
    );
    let said = place.program(["python3", "-c", &script]).on_both_alike()?;
    if said.is_empty() {
        return Err("the script has said nothing".into());
    }
    Ok(())
}

fn flags(place: &Place) -> Result<(), String> {
    python(
        place,
        "for flags in 0, os.O_CLOEXEC, os.O_NONBLOCK, os.O_DIRECT, os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECT:
    for end in os.pipe2(flags):
        mode = os.fstat(end).st_mode
        print(end, oct(fcntl.fcntl(end, fcntl.F_GETFL)), fcntl.fcntl(end, fcntl.F_GETFD), stat.S_ISFIFO(mode), oct(mode))
try:
    os.pipe2(1 << 30)
except OSError as error:
    print(error.errno)",
    )
}

fn thousands(place: &Place) -> Result<(), String> {
    python(
        place,
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
pipes = [os.pipe() for _ in range(4000)]
for number, (_, write) in enumerate(pipes):
    os.write(write, b'%d' % number)
print(sum(int(os.read(read, 99)) for read, _ in pipes))",
    )
}

fn descriptors(place: &Place) -> Result<(), String> {
    python(
        place,
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
pipes = []
try:
    while True:
        pipes.append(os.pipe())
except OSError as error:
    print(len(pipes), error.errno == errno.EMFILE, pipes[0], pipes[-1])
os.close(pipes.pop()[0])
try:
    os.pipe()
except OSError as error:
    print(error.errno == errno.EMFILE)",
    )
}

fn threads(place: &Place) -> Result<(), String> {
    python(
        place,
        "sums = []
def work():
    mine = 0
    for number in range(300):
        read, write = os.pipe()
        os.write(write, bytes([number % 251]))
        os.close(write)
        mine += sum(os.read(read, 9)) + len(os.read(read, 9))
        os.close(read)
    sums.append(mine)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sums)",
    )
}

fn sizes(place: &Place) -> Result<(), String> {
    python(
        place,
        "read, write = os.pipe()
print(fcntl.fcntl(read, fcntl.F_GETPIPE_SZ), fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 100000), fcntl.fcntl(read, fcntl.F_GETPIPE_SZ))
os.write(write, bytes(100000))
try:
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
except OSError as error:
    print(error.errno == errno.EBUSY)
try:
    fcntl.fcntl(os.open('/dev/null', os.O_RDWR), fcntl.F_GETPIPE_SZ)
except OSError as error:
    print(error.errno == errno.EBADF)",
    )
}

/// And says so in a child, which it starts without them.
fn closed(place: &Place) -> Result<(), String> {
    python(
        place,
        "script = 'import os; os.closerange(3, 5000); read, write = os.pipe(); print(read, write); os.write(write, b\"x\"); print(os.read(read, 9))'
print(subprocess.run([sys.executable, '-c', script], close_fds=True, stdout=subprocess.PIPE).stdout)",
    )
}

fn packets(place: &Place) -> Result<(), String> {
    python(
        place,
        "read, write = os.pipe2(os.O_DIRECT)
for packet in b'one', b'second', b'3':
    os.write(write, packet)
print(os.read(read, 99), os.read(read, 3), os.read(read, 99))",
    )
}

/// It never blocks: a pipe's rule, not a FIFO's.
fn reopened(place: &Place) -> Result<(), String> {
    python(
        place,
        "read, write = os.pipe()
again = os.open(f'/proc/self/fd/{write}', os.O_WRONLY)
os.write(again, b'by name')
os.close(again)
os.close(write)
again = os.open(f'/dev/fd/{read}', os.O_RDONLY)
print(os.read(again, 99), os.read(again, 99))",
    )
}
