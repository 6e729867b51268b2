// SPDX-License-Identifier: MIT

//! Decides how QEMU runs the guest's instructions.
//!
//! A /dev/kvm that opens proves nothing: where virtualization is nested without support of the
//! hardware, it creates a VM that cannot run an ordinary kernel. So a trial boot decides, once for
//! each host kernel, processor and QEMU, and the answer is remembered in the cache.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::machine::QEMU;
use crate::options::{Accel, Options};
use crate::session::{Channels, Limits, Outcome};
use crate::signals::Signals;
use crate::{image, machine, session, streams, Error};

/// With KVM the kernel is up in a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// What runs the guest, and why.
pub struct Accelerator {
    /// What QEMU is told.
    pub kind: Kind,
    reason: Option<&'static str>,
}

/// The processor that QEMU's translator plays. Without the fast string instructions: the kernel
/// would copy with `rep movsb` because of them, and the translator works through that byte by byte.
const TRANSLATED_CPU: &str = "max,-erms,-fsrm";

/// The accelerators of QEMU that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The processor itself.
    Kvm,
    /// QEMU's translator, one thread per processor.
    Tcg,
    /// QEMU's translator, as `-icount` needs it.
    TcgSingle,
}

impl Kind {
    /// The arguments for QEMU.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Kind::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Kind::Tcg => ["-accel", "tcg,thread=multi", "-cpu", TRANSLATED_CPU],
            Kind::TcgSingle => ["-accel", "tcg,thread=single", "-cpu", TRANSLATED_CPU],
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Kvm => "KVM",
            Kind::Tcg => "TCG",
            Kind::TcgSingle => "TCG, counting instructions",
        };
        match self.reason {
            Some(reason) => write!(formatter, "{name} ({reason})"),
            None => write!(formatter, "{name}"),
        }
    }
}

/// Chooses what the options ask for, or what works here.
pub fn choose(options: &Options, signals: &Signals) -> Result<Accelerator, Error> {
    let because = |kind, reason| Ok(Accelerator { kind, reason });
    if options.icount {
        return match options.accel {
            Accel::Kvm => Err("--icount counts what TCG executes: it cannot go with KVM".into()),
            _ => because(Kind::TcgSingle, None),
        };
    }
    if options.accel == Accel::Tcg {
        return because(Kind::Tcg, None);
    }
    let verdict = match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => trial(options, signals)?,
        Err(_) => Verdict::Unusable,
    };
    match (verdict, options.accel) {
        (Verdict::Works, _) => because(Kind::Kvm, None),
        (Verdict::Unusable, Accel::Kvm) => {
            Err("--accel kvm: this user cannot open /dev/kvm; use --accel tcg".into())
        }
        (Verdict::Fails, Accel::Kvm) => Err(
            "--accel kvm: /dev/kvm opens, but a trial boot with it failed; use --accel tcg".into(),
        ),
        (Verdict::Unusable, _) => because(Kind::Tcg, Some("no usable /dev/kvm")),
        (Verdict::Fails, _) => because(Kind::Tcg, Some("a trial boot with KVM failed")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Works,
    Fails,
    Unusable,
}

/// The remembered answer, or that of a trial boot.
fn trial(options: &Options, signals: &Signals) -> Result<Verdict, Error> {
    let memory = answer_file(options)?;
    match fs::read_to_string(&memory).as_deref() {
        Ok("works\n") => return Ok(Verdict::Works),
        Ok("fails\n") => return Ok(Verdict::Fails),
        _ => {}
    }
    crate::complain("is KVM usable here? a trial boot will tell (once)");
    let verdict = if boots_with_kvm(options, signals)? {
        Verdict::Works
    } else {
        Verdict::Fails
    };
    let answer = if verdict == Verdict::Works {
        "works\n"
    } else {
        "fails\n"
    };
    // Renamed, so that a second run never reads half an answer. A cache that cannot be written to
    // costs a trial each time, no more.
    let temporary = memory.with_extension(std::process::id().to_string());
    let _ = fs::write(&temporary, answer).and_then(|()| fs::rename(&temporary, &memory));
    Ok(verdict)
}

fn boots_with_kvm(options: &Options, signals: &Signals) -> Result<bool, Error> {
    let trial = Options {
        command: vec!["true".into()],
        no_module: true,
        module_param: Vec::new(),
        add: Vec::new(),
        append: Vec::new(),
        tty: false,
        ..options.clone()
    };
    let image = image::build(&trial, None)?;
    let mailbox = signals.new_session();
    let machine = machine::start(&trial, Kind::Kvm, &image)?;
    let limits = Limits {
        boot: TRIAL_LIMIT,
        run: Some(TRIAL_LIMIT),
    };
    let standard = streams::nobodys()?;
    let channels = Channels {
        standard,
        log: None,
        mailbox,
        has_terminal: false,
    };
    match session::run(machine, &limits, channels)? {
        Outcome::Interrupted(signal) => std::process::exit(128 + signal as i32),
        outcome => Ok(matches!(outcome, Outcome::Ended(0))),
    }
}

/// Where the answer for this host is remembered.
fn answer_file(options: &Options) -> Result<PathBuf, Error> {
    let mut hasher = DefaultHasher::new();
    fs::read_to_string("/proc/sys/kernel/osrelease")?.hash(&mut hasher);
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    processor
        .lines()
        .find(|line| line.starts_with("model name"))
        .hash(&mut hasher);
    let qemu = Command::new(QEMU).arg("--version").output();
    let qemu = qemu.map_err(|error| {
        format!("cannot start {QEMU}: {error}; install it with: scripts/host-deps")
    })?;
    qemu.stdout.hash(&mut hasher);
    Ok(options.cache.join(format!("kvm-{:016x}", hasher.finish())))
}
