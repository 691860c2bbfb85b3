//! Protocols whose server greets first and whose clients' first bytes say too little: they are taken by silence only.

use crate::{Verdict, define_protocol};

define_protocol! {
    /// SMTP: the server opens with `220` (RFC 5321, section 3.1); taken by silence only.
    pub struct Smtp;
    name: "smtp",
    transports: [Tcp],
    identify: |_| Verdict::NoMatch,
    server_first: true,
}

define_protocol! {
    /// IMAP: the server opens with `* OK` (RFC 9051, section 7.1); taken by silence only.
    pub struct Imap;
    name: "imap",
    transports: [Tcp],
    identify: |_| Verdict::NoMatch,
    server_first: true,
}

define_protocol! {
    /// POP3: the server opens with `+OK` (RFC 1939, section 4); taken by silence only.
    pub struct Pop3;
    name: "pop3",
    transports: [Tcp],
    identify: |_| Verdict::NoMatch,
    server_first: true,
}

define_protocol! {
    /// MySQL and MariaDB: the server opens with its handshake packet; taken by silence only.
    pub struct Mysql;
    name: "mysql",
    transports: [Tcp],
    identify: |_| Verdict::NoMatch,
    server_first: true,
}
