//! Signals that mean nothing.

use std::process::Command;

use super::{SSH, said};
use crate::harness::{Backend, Proxy, ask, need, route, until};

/// P3: what may come from anywhere ends nothing; what says that something is badly wrong is left to the system.
#[test]
fn no_signal_ends_it_that_does_not_mean_the_end() {
    if !need(&["kill"]) {
        return;
    }
    let ssh = Backend::echo("ssh");
    let proxy = Proxy::start_with("", &route("ssh", "", ssh.address()), &[]);
    // The report is printed at the same time as signals begin to be heard.
    until("the start", || (!said(&proxy, "listening").is_empty()).then_some(()));
    let fatal = ["QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS", "XCPU", "XFSZ"];
    let ends = ["INT", "TERM", "USR2", "KILL", "STOP", "TSTP", "TTIN", "TTOU"];
    let names = Command::new("kill").arg("-l").output().expect("kill").stdout;
    let names = String::from_utf8(names).expect("text");
    let words = names.split_whitespace().map(|it| it.trim_start_matches("SIG"));
    let others: Vec<_> = words
        .filter(|it| it.starts_with(char::is_alphabetic))
        .filter(|it| !fatal.contains(it) && !ends.contains(it))
        .collect();
    assert!(others.len() > 10 && others.contains(&"USR1"), "{names}");
    let real_time: Vec<_> = (34..=64).map(|it| it.to_string()).collect();
    for signal in others.into_iter().chain(real_time.iter().map(String::as_str)) {
        proxy.signal(signal);
    }
    for _ in 0..3 {
        assert_eq!(ask(proxy.address(), SSH), [b"ssh: ", SSH].concat());
    }
    assert_eq!(proxy.terminate().0.code(), Some(0));
}
