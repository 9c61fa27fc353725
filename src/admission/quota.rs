//! The CPU quota of the server's control group (cgroups(7)), as containers and services have it: how much there is, and what it takes away. A process that has
//! used it up is stopped for the rest of a period, commonly of 100 ms, with every packet that it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Where the kernel says what the quota is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    group: PathBuf,
}

/// What a quota has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Periods in which the server wanted to run.
    pub periods: u64,
    /// Periods in which it was stopped.
    pub throttled: u64,
}

impl Quota {
    /// Of the control group this process is in; `None` if it can't be told. One of a group above it is not looked for.
    pub fn own() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let candidates = candidates(&groups, &mounts);
        candidates.into_iter().map(Self::of).find(|quota| quota.cores().is_some())
    }

    /// Of the control group in this directory.
    pub fn of(group: PathBuf) -> Self {
        Self { group }
    }

    /// How many cores' time there is; `None` if there is no limit.
    pub fn cores(&self) -> Option<f64> {
        let read = |file| fs::read_to_string(self.group.join(file)).ok();
        let (quota, period) = match read("cpu.max") {
            Some(max) => limit(&max)?,
            None => limit(&[read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?].join(" "))?,
        };
        Some(quota / period)
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        counts(&fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default())
    }
}

/// User and system time of this process so far.
pub fn used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64);
    Duration::from_micros(micros.iter().sum())
}

/// The directories that may be this process' control group, of version 2 or of version 1's controller `cpu`, by what `/proc` says. In a container the
/// group's name often means something outside of it, and the group is what is mounted.
fn candidates(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in mounts.lines() {
        // ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS … - TYPE SOURCE SUPER-OPTIONS (proc_pid_mountinfo(5)).
        let Some((mount, kind)) = mount.split_once(" - ") else { continue };
        let (Some(point), mut kind) = (mount.split(' ').nth(4), kind.split(' ')) else { continue };
        let (kind, options) = (kind.next(), kind.nth(1).unwrap_or_default());
        let is_cpu = |list: &str| list.split(',').any(|controller| controller == "cpu");
        if kind != Some("cgroup2") && (kind != Some("cgroup") || !is_cpu(options)) {
            continue;
        }
        for group in groups.lines() {
            let mut fields = group.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            if if kind == Some("cgroup2") { controllers.is_empty() } else { is_cpu(controllers) } {
                found.push(Path::new(point).join(path.trim_start_matches('/')));
            }
        }
        found.push(point.into());
    }
    found
}

/// Quota and period, in microseconds each; `None` without a limit.
fn limit(text: &str) -> Option<(f64, f64)> {
    let mut words = text.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (words.next()?.ok()?, words.next()?.ok()?);
    (quota > 0.0 && period > 0.0).then_some((quota, period))
}

fn counts(stat: &str) -> Counts {
    let count = |name| {
        let words = stat.lines().filter_map(|line| line.split_once(' '));
        words.filter(|(key, _)| *key == name).find_map(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
    };
    Counts { periods: count("nr_periods"), throttled: count("nr_throttled") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_read_in_either_version() {
        assert_eq!(limit("25000 100000\n"), Some((25_000.0, 100_000.0)));
        assert_eq!(limit("max 100000\n"), None);
        assert_eq!(limit("-1\n 100000\n"), None);
        assert_eq!(limit(""), None);
        let two = "usage_usec 5\nnr_periods 17\nnr_throttled 3\nthrottled_usec 1000\n";
        assert_eq!(counts(two), Counts { periods: 17, throttled: 3 });
        assert_eq!(counts("nr_periods 2\nnr_throttled 0\nthrottled_time 0\n"), Counts { periods: 2, throttled: 0 });
        assert_eq!(counts("usage_usec 5\n"), Counts::default());
    }

    #[test]
    fn the_group_is_found_in_either_version() {
        let one = "35 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                   36 24 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
        let groups = "3:cpuset:/\n2:cpu,cpuacct:/docker/12\n0::/\n";
        assert_eq!(candidates(groups, one), ["/sys/fs/cgroup/cpu,cpuacct/docker/12", "/sys/fs/cgroup/cpu,cpuacct"].map(PathBuf::from));
        let two = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n22 1 0:5 / / rw - ext4 /dev/vda rw\n";
        assert_eq!(candidates("0::/system.slice/a:b\n", two), ["/sys/fs/cgroup/system.slice/a:b", "/sys/fs/cgroup"].map(PathBuf::from));
    }

    #[test]
    fn work_is_counted() {
        let before = used();
        while used() < before + Duration::from_millis(20) {}
    }
}
