//! Many clients that come back at once to a backend that allows few.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::web::Web;
use crate::harness::{DEADLINE, Proxy, need, until};

/// Row H12: the backend is killed and comes back. It would answer 503 to whoever is one too many.
#[test]
fn clients_of_a_backend_that_restarts_come_back_as_many_as_it_allows() {
    come_back(160, 40, DEADLINE);
}

#[test]
#[ignore = "deep: five thousand clients"]
fn five_thousand_clients_come_back_within_half_a_minute() {
    come_back(5000, 1000, Duration::from_secs(30));
}

/// So many clients at once of a backend that allows `most`; all are to be served within this time of its return.
fn come_back(count: usize, most: usize, within: Duration) {
    if !need(&["nginx"]) {
        return;
    }
    let zone = format!("limit_conn_zone $server_port zone=all:1m;\nlimit_conn all {most};\n");
    let mut web = Web::start(1100, &zone);
    let routes = format!(
        "[[protocols]]\nname = \"http\"\nforward_to = {{ address = \"{}\", max_connections = {most} }}\n\
         [protocols.health]\ninterval_ms = 200\n",
        web.address
    );
    let proxy = Proxy::start_with("connect_timeout_ms = 15000", &routes, &[]);
    let address = proxy.address();
    let runtime = Runtime::new().expect("a runtime");
    let clients = runtime.spawn(async move {
        let mut clients = JoinSet::new();
        for nth in 0..count {
            clients.spawn(async move {
                // Like any client: it tries again a little later, and many do not all at once.
                while !served(address, nth).await {
                    sleep(Duration::from_millis(50 + (nth as u64) / 4)).await;
                }
            });
        }
        clients.join_all().await.len()
    });
    until("some to be served", || (web.answered(200).len() >= count / 5).then_some(()));
    web.kill();
    assert!(!clients.is_finished());
    web.restart();
    let all = runtime.block_on(async { timeout(within, clients).await });
    assert_eq!(all.expect("an end").expect("no panic"), count);
    // Those that it was about to note when it was killed are not in its log.
    let noted = || (web.answered(200).len() >= count - most).then_some(());
    until("the answers in its log", noted);
    assert_eq!(web.answered(503), Vec::<String>::new());
}

async fn served(proxy: std::net::SocketAddr, nth: usize) -> bool {
    let Ok(mut stream) = TcpStream::connect(proxy).await else { return false };
    let request = format!("GET /{nth} HTTP/1.0\r\n\r\n");
    let mut answer = Vec::new();
    let sent = stream.write_all(request.as_bytes()).await;
    let whole = sent.is_ok() && stream.read_to_end(&mut answer).await.is_ok();
    whole && answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"xxx")
}
