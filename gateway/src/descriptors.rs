//! File descriptors: as many as the system lets the process have, and some of them kept back for the disk.
//!
//! Every connection holds one and so does every file. A gateway that has none left when the journal needs its next
//! segment must stop, so connections never get the last ones. The system gives out the lowest number that is free; a
//! new socket's own number therefore says how many are in use, and nothing needs to be counted. Nothing here closes
//! anything.

use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many connections do not get: the journal's next segment and its folder, 64 older segments that readers hold open,
/// some readers of metrics; and never more than a quarter of all that there are.
const KEPT_BACK_MAX: u64 = 96;

/// What connections may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The first number that is kept back; `None`: there is no end to them.
    first_kept_back: Option<u64>,
}

impl Descriptors {
    /// Takes all that the system allows. What the process has at first is often 1,024, for programs that could not deal
    /// with more.
    pub(crate) fn take_all() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        Self::of(if raised.is_ok() { maximum } else { current })
    }

    fn of(all: Option<u64>) -> Self {
        Self { first_kept_back: all.map(|all| all - (all / 4).min(KEPT_BACK_MAX)) }
    }

    /// Says how many too many are in use, if a new socket has one of those that are kept back: so many must be given back
    /// before the next is taken. One for each would not do: the next would only fill the gap, and the one after it come a
    /// number higher.
    pub(crate) fn short_by(self, socket: &impl AsRawFd) -> u64 {
        let number = u64::try_from(socket.as_raw_fd()).expect("an open descriptor is not negative");
        self.first_kept_back.map_or(0, |first| (number + 1).saturating_sub(first))
    }

    /// Says whether so many sockets fit beside what the process holds anyway.
    pub(crate) fn suffice_for(self, sockets: usize) -> bool {
        self.first_kept_back.is_none_or(|first| first >= sockets as u64)
    }
}

/// Says whether an error means that the process or the whole system has no descriptors left.
pub(crate) fn ran_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered(i32);

    impl AsRawFd for Numbered {
        fn as_raw_fd(&self) -> i32 {
            self.0
        }
    }

    #[test]
    fn a_quarter_is_kept_back_up_to_what_the_disk_needs() {
        for (all, first) in [(64, 48), (1024, 928), (524_288, 524_192)] {
            let descriptors = Descriptors::of(Some(all));
            for (number, short) in [(first - 1, 0), (first, 1), (first + 5, 6)] {
                assert_eq!(descriptors.short_by(&Numbered(number)), short, "{number} of {all}");
            }
        }
        assert_eq!(Descriptors::of(None).short_by(&Numbered(i32::MAX)), 0);
    }

    #[test]
    fn only_the_want_of_descriptors_is_taken_for_it() {
        assert!(ran_out(&Errno::MFILE.into()) && ran_out(&Errno::NFILE.into()));
        assert!(!ran_out(&Errno::CONNABORTED.into()) && !ran_out(&io::Error::other("something else")));
    }
}
