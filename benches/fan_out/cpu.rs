//! The processor time of other threads and processes, in nanoseconds.

use std::time::Duration;

use anyhow::Context;

/// The clock that runs while a thread or a process runs, in user mode or in the kernel.
#[derive(Clone, Copy)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// Of a thread of this process, by its id in the kernel. The clock's number is made as the kernel's `CPUCLOCK_PERTHREAD` says.
    pub fn of_thread(tid: u32) -> Self {
        Self(!(tid as libc::clockid_t) << 3 | 4 | 2)
    }

    /// Of a process: the sum over its threads, ended ones too.
    pub fn of_process(pid: u32) -> Self {
        Self(!(pid as libc::clockid_t) << 3 | 2)
    }

    /// What it shows.
    pub fn read(self) -> anyhow::Result<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is writable during the call.
        let result = unsafe { libc::clock_gettime(self.0, &mut time) };
        anyhow::ensure!(result == 0, "no such clock: {}", std::io::Error::last_os_error());
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

/// The calling thread.
pub fn this_thread() -> anyhow::Result<u32> {
    let link = std::fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
    Ok(link.file_name().and_then(|name| name.to_str()).context("a thread's number")?.parse()?)
}

/// All threads of this process whose name begins with `prefix`.
pub fn threads(prefix: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with(prefix)) {
            found.push(path.file_name().and_then(|name| name.to_str()).context("a thread's number")?.parse()?);
        }
    }
    Ok(found)
}
