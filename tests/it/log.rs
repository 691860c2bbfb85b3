//! What is said of connections, and how floods and hostile words are told.

mod fail2ban;
mod floods;
mod hostile;
mod lines;
mod secrets;

use serde_json::Value as Json;

use crate::harness::{Proxy, until};

/// The program with a connection log.
fn proxy(form: &str, server: &str, routes: &str, options: &[&str]) -> Proxy {
    let log = format!("{routes}\n[log]\nconnections = \"{form}\"\n");
    Proxy::start_with(server, &log, options)
}

/// The lines of the connection log with these words in them, once there are so many.
fn told(proxy: &Proxy, words: &str, count: usize) -> Vec<String> {
    until(&format!("{count} times `{words}` in the connection log"), || {
        let stdout = proxy.stdout();
        let lines = stdout.lines().filter(|line| line.contains(words));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// A line as JSON, from a line of either form. Numbers of text are numbers.
fn fields(line: &str) -> Json {
    if line.starts_with('{') {
        return serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let value = |text: &str| match text {
        "-" => Json::Null,
        _ => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    let (time, rest) = line.split_once(' ').expect("a time");
    let pairs = rest.split(' ').map(|pair| pair.split_once('=').expect("key=value"));
    let pairs = pairs.map(|(key, text)| (key.to_owned(), value(text)));
    pairs.chain([("time".to_owned(), time.into())]).collect()
}
