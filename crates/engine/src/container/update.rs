//! Changing the limits of a container that is there: what a request names replaces what was.

use berth_oci::container::Resources;

use crate::error::{Error, Result};

/// Puts the limits that `asked` names over `have`.
///
/// Errors: Docker's text for limits that exclude each other.
pub(crate) fn apply(have: &mut Resources, asked: &Resources) -> Result<()> {
    let conflict =
        |what: &str| Err(Error::Conflict(format!("Conflicting options: {what} has already been set")));
    if asked.nano_cpus > 0 && have.cpu_period > 0 {
        return conflict("Nano CPUs cannot be updated as CPU Period");
    }
    if asked.nano_cpus > 0 && have.cpu_quota > 0 {
        return conflict("Nano CPUs cannot be updated as CPU Quota");
    }
    if asked.cpu_quota > 0 && have.nano_cpus > 0 {
        return conflict("CPU Quota cannot be updated as NanoCPUs");
    }
    if asked.cpu_period > 0 && have.nano_cpus > 0 {
        return conflict("CPU Period cannot be updated as NanoCPUs");
    }
    let set = |value: &mut i64, asked: i64| {
        if asked != 0 {
            *value = asked;
        }
    };
    if asked.memory != 0 && asked.memory_swap == 0 && asked.memory > have.memory_swap {
        return Err(Error::Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
                .to_owned(),
        ));
    }
    set(&mut have.cpu_shares, asked.cpu_shares);
    set(&mut have.memory, asked.memory);
    set(&mut have.memory_swap, asked.memory_swap);
    set(&mut have.memory_reservation, asked.memory_reservation);
    set(&mut have.nano_cpus, asked.nano_cpus);
    set(&mut have.cpu_period, asked.cpu_period);
    set(&mut have.cpu_quota, asked.cpu_quota);
    set(&mut have.cpu_realtime_period, asked.cpu_realtime_period);
    set(&mut have.cpu_realtime_runtime, asked.cpu_realtime_runtime);
    if asked.blkio_weight != 0 {
        have.blkio_weight = asked.blkio_weight;
    }
    for (value, asked) in
        [(&mut have.cpuset_cpus, &asked.cpuset_cpus), (&mut have.cpuset_mems, &asked.cpuset_mems)]
    {
        if !asked.is_empty() {
            value.clone_from(asked);
        }
    }
    if asked.pids_limit.is_some() {
        // None is told as 0, however it was asked for.
        have.pids_limit = asked.pids_limit.map(|limit| limit.max(0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_replaces_what_was() {
        let mut have = Resources {
            memory: 10,
            memory_swap: 20,
            cpu_shares: 5,
            pids_limit: Some(3),
            ..Resources::default()
        };
        let asked = Resources { memory: 20, cpuset_cpus: "1".to_owned(), ..Resources::default() };
        apply(&mut have, &asked).unwrap();
        let expect = Resources { memory: 20, cpuset_cpus: "1".to_owned(), ..have.clone() };
        assert_eq!((have.cpu_shares, have.pids_limit), (5, Some(3)));
        assert_eq!(have, expect);
        have.memory_swap = 30;
        assert!(apply(&mut have, &Resources { memory: 40, ..Resources::default() }).is_err());
        have.nano_cpus = 1;
        assert!(apply(&mut have, &Resources { cpu_quota: 1000, ..Resources::default() }).is_err());
    }
}
