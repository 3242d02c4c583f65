//! What the tester asks of the machine: cores, file descriptors, and what a process has used so far.

use std::fs;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::fault::Fault;

/// Keeps this thread, and every thread it starts from now on, on one core. Does nothing where there is no such core.
pub fn pin(core: usize) -> bool {
    if !sched_getaffinity(None).is_ok_and(|allowed| core < CpuSet::MAX_CPU && allowed.is_set(core)) {
        return false;
    }
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).is_ok()
}

/// Cores that this process may run on: `first` and those after it, then those before it, without `except`. Only `first`
/// when nothing else is left.
pub fn cores_from(first: usize, except: Option<usize>) -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let mut cores: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core) && Some(*core) != except).collect();
    let before = cores.iter().take_while(|core| **core < first).count();
    cores.rotate_left(before);
    if cores.is_empty() { vec![first] } else { cores }
}

/// How many cores this process may run on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the soft limit of open files to the hard one.
///
/// # Errors
/// [`Fault::FileDescriptors`] when fewer than `needed` can be open.
pub fn allow_files(needed: u64) -> Result<(), Fault> {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = maximum.unwrap_or(needed.max(1 << 20));
    let limit = Rlimit { current: Some(raised), maximum };
    if rustix::process::setrlimit(Resource::Nofile, limit).is_err() || raised < needed {
        return Err(Fault::FileDescriptors { needed, allowed: raised.min(maximum.unwrap_or(raised)) });
    }
    Ok(())
}

/// A process that is measured, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// This one.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// Seconds of processor time, of all its threads: to the nanosecond where the kernel keeps it, else to the tick.
    pub fn cpu_seconds(self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let nanos: u64 = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        // Threads that have ended count only here.
        (nanos as f64 / 1e9).max(self.cpu_seconds_by_tick().unwrap_or_default())
    }

    fn cpu_seconds_by_tick(self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        let after_name = stat.rsplit_once(')')?.1;
        // Fields 14 and 15 of proc_pid_stat(5); the first here is field 3.
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Bytes of resident memory.
    pub fn resident_bytes(self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0))
            .or_else(|_| fs::read_to_string(format!("/proc/{}/status", self.0)))
            .unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:").or_else(|| line.strip_prefix("VmRSS:")));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1_024
    }
}

/// The processor's name, for reports.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// The kernel's release, for reports.
pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
