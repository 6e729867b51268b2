// SPDX-License-Identifier: MIT

//! How a server is stopped, told to reload, and detached.

use crate::serve::{answer, request};
use crate::server::{each, Server, MODELS};
use crate::support::{assert_fails, has_ended, stderr, stdout, until, Place};
use kpipe::channel::{Error, Options};
use kpipe_protocol::demo::{Call, Reply};
use kpipe_protocol::rpc::decode;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

#[test]
fn a_stopped_server_finishes_what_it_has_taken() {
    each(&MODELS, |model| {
        let place = Place::new();
        let server = Server::start(&place, "rpc", model, "tcp:127.0.0.1:0", &[]);
        let mut client = server.connect();
        let call = request(7, &Call::Sum(20, 22));
        // An answer proves that the connection has been taken.
        client.write_all(&request(6, &Call::Stat)).unwrap();
        assert_eq!(answer(&mut *client).number, 6);
        client.write_all(&call[..5]).unwrap();
        server.signal(Signal::SIGTERM);
        until("nobody listens", || {
            let late = server.address.connect(&Options::default());
            matches!(late, Err(Error::NobodyListens { .. }))
        });
        client.write_all(&call[5..]).unwrap();
        let frame = answer(&mut *client);
        assert_eq!(
            decode::<Reply>(&frame.body).unwrap(),
            Reply::Sum(42),
            "{model}"
        );
        assert_eq!(
            client.read(&mut [0]).unwrap(),
            0,
            "{model}: then it is ended"
        );
        let output = server.ended();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{model}: {}",
            stderr(&output)
        );
    });
}

#[test]
fn an_interrupt_stops_it_too() {
    let place = Place::new();
    let server = Server::start(&place, "echo", "pool", "unix:s", &["-v"]);
    server.signal(Signal::SIGINT);
    let output = server.ended();
    assert!(output.status.success());
    assert!(!place.path("s").exists(), "its socket is left");
}

#[test]
fn a_client_that_talks_on_does_not_hold_up_the_stop() {
    each(&MODELS, |model| {
        let place = Place::new();
        let server = Server::start(&place, "echo", model, "unix:s", &["--timeout", "0s"]);
        let mut client = server.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let talker = thread::spawn(move || {
            while client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok() {}
        });
        server.stop();
        talker.join().unwrap();
    });
}

#[test]
fn queued_sleeps_do_not_hold_up_the_stop() {
    each(&["sequential", "event"], |model| {
        let place = Place::new();
        let server = Server::start(&place, "rpc", model, "unix:s", &[]);
        let mut client = server.connect();
        let mut calls = request(1, &Call::Stat);
        for number in 2..1000 {
            calls.extend(request(number, &Call::Sleep(200)));
        }
        client.write_all(&calls).unwrap();
        assert_eq!(answer(&mut *client).number, 1);
        server.stop();
    });
}

/// A parent may have ignored SIGCHLD, which is inherited: the kernel then keeps no children to wait for.
#[test]
fn processes_are_collected_though_the_parent_ignored_their_end() {
    for model in ["fork-wait", "fork"] {
        let place = Place::new();
        let args = ["serve", "echo", "--model", model, "--listen", "unix:s"];
        let server = place.start_by(&["--ignore-signal=CHLD"], &args);
        let server = Server::ready(&place, server);
        for _ in 0..2 {
            let mut client = server.connect();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        until("no process is left", || server.belongings().1 == 0);
        server.stop();
    }
}

/// Killed, so that it can tell nobody.
#[test]
fn processes_end_with_a_server_that_is_killed() {
    each(&["fork-wait", "fork"], |model| {
        let place = Place::new();
        let options = ["--timeout", "0s"];
        let server = Server::start(&place, "echo", model, "unix:s", &options);
        let mut client = server.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let children = server.children();
        assert_eq!(children.len(), 1, "{model}");
        server.signal(Signal::SIGKILL);
        server.ended();
        until("its process has ended", || has_ended(children[0]));
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "{model}");
    });
}

#[test]
fn a_hangup_opens_the_log_and_the_root_again() {
    each(&MODELS, |model| {
        let place = Place::new();
        for name in ["one", "two"] {
            std::fs::create_dir(place.path(name)).unwrap();
            place.file(&format!("{name}/file"), name.as_bytes());
        }
        std::os::unix::fs::symlink("one", place.path("root")).unwrap();
        let options = ["--root", "root", "--log", "log"];
        let server = Server::start(&place, "http", model, "unix:s", &options);
        let address = server.address.to_string();
        let get = || stdout(&place.run(&["client", "http", &address, "/file"]));
        assert_eq!(get(), "one");
        std::fs::rename(place.path("log"), place.path("log.1")).unwrap();
        std::fs::remove_file(place.path("root")).unwrap();
        std::os::unix::fs::symlink("two", place.path("root")).unwrap();
        server.signal(Signal::SIGHUP);
        let read = |name| std::fs::read_to_string(place.path(name)).unwrap_or_default();
        until("the new log tells", || {
            read("log").contains("reloaded: the files below root")
        });
        assert_eq!(get(), "two", "{model}");
        assert_eq!(read("log.1"), "", "{model}");
        std::fs::remove_file(place.path("root")).unwrap();
        server.signal(Signal::SIGHUP);
        until("it is refused", || {
            read("log").contains("not reloaded, all is as before")
        });
        assert_eq!(get(), "two", "{model}");
        server.stop();
    });
}

#[test]
fn a_daemon_is_detached_and_found_by_its_pid_file() {
    let place = Place::new();
    let daemon = [
        "serve",
        "echo",
        "-l",
        "unix:socket",
        "--daemon",
        "--log",
        "log",
        "--pid-file",
        "pid",
        "-v",
    ];
    let started = place.run(&daemon);
    assert!(started.status.success(), "{}", stderr(&started));
    let socket = place.path("socket");
    assert_eq!(
        stdout(&started),
        format!("listening at unix:{}\n", socket.display())
    );
    let pid = std::fs::read_to_string(place.path("pid")).unwrap();
    let pid: i32 = pid.trim().parse().unwrap();
    let of_process = |name: &str| Path::new("/proc").join(pid.to_string()).join(name);
    let status = std::fs::read_to_string(of_process("stat")).unwrap();
    // After the name: state, parent, group, session, terminal (proc_pid_stat(5)).
    let fields: Vec<&str> = status
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_ne!(
        fields[3],
        pid.to_string(),
        "it leads its session and could get a terminal"
    );
    assert_eq!(fields[4], "0", "it has a terminal");
    assert_eq!(
        std::fs::read_link(of_process("cwd")).unwrap(),
        Path::new("/")
    );
    for fd in ["fd/0", "fd/1"] {
        assert_eq!(
            std::fs::read_link(of_process(fd)).unwrap(),
            Path::new("/dev/null")
        );
    }
    let echo = place.run(&["client", "echo", "unix:socket", "hello"]);
    assert_eq!(stdout(&echo), "hello\n");
    // A second one: neither the file nor the socket can be had, and it says so before it detaches.
    assert_fails(&place.run(&daemon), 1, &["pid: another server has it"]);
    assert_fails(&place.run(&daemon[..7]), 1, &["socket: in use"]);
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    until("the daemon has ended", || has_ended(pid));
    assert!(!place.path("pid").exists() && !socket.exists());
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(
        log.contains("GMT") && log.contains(&format!("[{pid}]")) && log.contains("stopped after"),
        "{log}"
    );
}
