//! What the kernel says of a process: its processor time and its memory (proc(5)).

use std::path::{Path, PathBuf};

use rustix::process::getpid;
use rustix::thread::gettid;

use crate::processor::Processor;

/// A process by its id.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// This process.
    pub fn current() -> Self {
        Self(getpid().as_raw_nonzero().get().cast_unsigned())
    }

    fn file(self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.0.to_string()).join(name)
    }

    fn read(self, name: &str) -> String {
        let path = self.file(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Fields of `stat` after the name, which may contain anything: the first is field 3.
    fn stat(self) -> Option<Vec<u64>> {
        let stat = std::fs::read_to_string(self.file("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
    }

    /// The processes that it started.
    pub fn children(self) -> Vec<Process> {
        let processes = std::fs::read_dir("/proc").expect("/proc is there").flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Process))
            .filter(|process| {
                process.stat().is_some_and(|stat| stat.get(1) == Some(&u64::from(self.0)))
            })
            .collect()
    }

    /// Clock ticks of user and system time together, threads that have ended included.
    pub fn ticks(self) -> u64 {
        let stat = self.stat().expect("the process lives");
        stat[11] + stat[12]
    }

    fn tasks(self) -> impl Iterator<Item = PathBuf> {
        std::fs::read_dir(self.file("task"))
            .expect("a process has tasks")
            .flatten()
            .map(|e| e.path())
    }

    /// Names of its threads.
    pub fn thread_names(self) -> Vec<String> {
        let names = self.tasks().filter_map(|task| std::fs::read_to_string(task.join("comm")).ok());
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// Nanoseconds its living threads have run; in this process without the calling one, which
    /// plays the driver.
    pub fn nanoseconds(self) -> u64 {
        let own = format!("{}", gettid().as_raw_nonzero());
        self.tasks()
            .filter(|task| !task.ends_with(&own))
            .filter_map(|task| std::fs::read_to_string(task.join("schedstat")).ok())
            .filter_map(|times| times.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    /// Keeps all its threads on a processor.
    pub fn pin(self, processor: Processor) {
        for task in self.tasks() {
            let id = task.file_name().and_then(|name| name.to_str()?.parse().ok());
            processor.pin(rustix::thread::Pid::from_raw(id.expect("a task is a number")));
        }
    }

    /// Bytes of private memory; see [`Memory`].
    pub fn memory(self) -> Memory {
        let mut memory = Memory::default();
        let mut mapping = "";
        for line in self.read("smaps").lines() {
            let mut words = line.split_whitespace();
            match (words.next().and_then(|word| word.strip_suffix(':')), words.next()) {
                (Some(field), Some(value)) => memory.add(mapping, field, value),
                // "5571a000-5571b000 rw-p 00000000 00:01 123   /path": a mapping begins.
                _ => mapping = line.splitn(6, ' ').last().unwrap_or_default().trim_start(),
            }
        }
        memory
    }
}

/// Memory of processes that would be free if they ended, in bytes.
///
/// Counted from `smaps`, because `smaps_rollup` cannot tell mappings apart and the driver's memory,
/// which plays the guest's, belongs to neither process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// `Private_Dirty`: heap, stacks, and what of the program and its libraries was written to
    /// (relocations, data).
    pub dirty: u64,
    /// `Private_Clean`: unchanged pages of the program and its libraries that nobody else has mapped
    /// just now. The kernel can drop them at any time, and they outlive the processes; but whoever
    /// starts them first pays for them.
    pub clean: u64,
    /// `Pss` of the memfds that resources of the device live in. Both processes map them, so neither
    /// has them for its own; the shares add up to the whole.
    pub resources: u64,
}

impl Memory {
    fn add(&mut self, mapping: &str, field: &str, kibibytes: &str) {
        let bytes = kibibytes.parse::<u64>().unwrap_or(0) * 1024;
        let driver = mapping.starts_with("/memfd:virtio-gpu-driver");
        let resource = mapping.starts_with("/memfd:") && !driver;
        match field {
            "Pss" if resource => self.resources += bytes,
            "Private_Dirty" | "Private_Hugetlb" if !driver && !resource => self.dirty += bytes,
            "Private_Clean" if !driver && !resource => self.clean += bytes,
            _ => {}
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.dirty + self.clean + self.resources
    }
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            dirty: self.dirty + other.dirty,
            clean: self.clean + other.clean,
            resources: self.resources + other.resources,
        }
    }
}
