//! When a container that ended is started again. Pure: times and codes in, a decision out.

use std::time::Duration;

use berth_oci::container::{RestartPolicy, RestartPolicyName};

/// The first pause before a restart.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A run that lasted so long makes the next pause the first one again.
const HEALTHY: Duration = Duration::from_secs(10);

/// The memory of a container's restarts; new when the user starts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    pause: Duration,
}

impl Backoff {
    /// How long to wait before the next start, after a run that lasted `ran`: 100 ms, doubled each time.
    pub(crate) fn next(&mut self, ran: Duration) -> Duration {
        self.pause =
            if self.pause.is_zero() || ran >= HEALTHY { FIRST } else { (self.pause * 2).min(LONGEST) };
        self.pause
    }
}

/// Whether a container that ended with `exit_code` is to be started again while the engine runs.
///
/// `count` is how often it was started again so far, `stopped` whether the user stopped it.
pub(crate) fn after_exit(policy: &RestartPolicy, exit_code: i32, count: u32, stopped: bool) -> bool {
    if stopped {
        return false;
    }
    match policy.parse() {
        Ok(RestartPolicyName::Always | RestartPolicyName::UnlessStopped) => true,
        Ok(RestartPolicyName::OnFailure) => {
            let max = u32::try_from(policy.maximum_retry_count).unwrap_or(0);
            exit_code != 0 && (max == 0 || count < max)
        }
        _ => false,
    }
}

/// Whether a container is to be started when the engine opens.
///
/// `was_running`: its last record says that it ran (and it does not any more, or the machine was booted since).
pub(crate) fn at_open(
    policy: &RestartPolicy,
    was_running: bool,
    exit_code: i32,
    count: u32,
    stopped: bool,
) -> bool {
    match policy.parse() {
        Ok(RestartPolicyName::Always) => true,
        Ok(RestartPolicyName::UnlessStopped) => !stopped,
        Ok(RestartPolicyName::OnFailure) => was_running && after_exit(policy, exit_code, count, stopped),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, maximum_retry_count: i32) -> RestartPolicy {
        RestartPolicy { name: name.to_owned(), maximum_retry_count }
    }

    #[test]
    fn pauses_double_and_start_over_after_a_healthy_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(5);
        let pauses: Vec<u128> = (0..12).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(backoff.next(HEALTHY).as_millis(), 100);
        assert_eq!(backoff.next(short).as_millis(), 200);
    }

    #[test]
    fn policies_decide_as_docker_does() {
        let check = |name: &str, max: i32, code: i32, count: u32, stopped: bool, expect: bool| {
            assert_eq!(
                after_exit(&policy(name, max), code, count, stopped),
                expect,
                "{name} {max} {code} {count}"
            );
        };
        check("", 0, 1, 0, false, false);
        check("no", 0, 1, 0, false, false);
        check("always", 0, 0, 1000, false, true);
        check("always", 0, 0, 0, true, false);
        check("unless-stopped", 0, 0, 7, false, true);
        check("on-failure", 0, 0, 0, false, false);
        check("on-failure", 0, 1, 1000, false, true);
        check("on-failure", 2, 1, 1, false, true);
        check("on-failure", 2, 1, 2, false, false);
    }

    #[test]
    fn opening_the_engine_starts_what_should_run() {
        let check = |name: &str, was_running: bool, stopped: bool, expect: bool| {
            assert_eq!(
                at_open(&policy(name, 0), was_running, 1, 0, stopped),
                expect,
                "{name} {was_running} {stopped}"
            );
        };
        check("no", true, false, false);
        check("always", false, true, true);
        check("unless-stopped", false, true, false);
        check("unless-stopped", true, false, true);
        check("on-failure", true, false, true);
        check("on-failure", false, false, false);
    }
}
