//! The page in a real browser, driven over WebDriver (W3C), beside what the servers behind us wrote themselves.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ADMIN, admin_of, status};
use crate::balance::web::Web;
use crate::harness::{Backend, Process, Proxy, ask, connect, need, read_until, route, until};

/// A headless Chromium. Its first start on a machine takes a while.
struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
}

impl Browser {
    fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process(command.spawn().expect("chromedriver"));
        let said = read_until("started successfully", process.0.stdout.take().expect("a pipe"));
        let port = said
            .rsplit("on port ")
            .next()
            .and_then(|it| it.trim().trim_end_matches('.').parse().ok());
        let driver = SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = call(driver, "POST", "/session", Some(wanted));
        let session = session["sessionId"].as_str().expect("a session").to_owned();
        Self { driver, session, _process: process }
    }

    fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        call(self.driver, method, &format!("/session/{}{path}", self.session), body)
    }

    fn open(&self, url: &str) {
        self.call("POST", "/url", Some(json!({ "url": url })));
    }

    /// Runs a script on the page; what it returns.
    fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", Some(json!({ "script": script, "args": [] })))
    }

    /// Waits until a script returns something that is true.
    fn wait(&self, what: &str, script: &str) -> Value {
        until(what, || {
            let value = self.run(script);
            (!matches!(value, Value::Null | Value::Bool(false))).then_some(value)
        })
    }

    fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("POST", "/goog/cdp/execute", Some(body));
    }

    /// Looks as on such a screen.
    fn screen(&self, width: u32, height: u32, scheme: &str) {
        let scheme = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
        let is_phone = width < 500;
        let scale = if is_phone { 1.5 } else { 1.0 };
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", screen);
    }

    /// What scripts and the policy of the page complained about.
    fn complaints(&self) -> Value {
        self.call("POST", "/se/log", Some(json!({ "type": "browser" })))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without that, the browser outlives its driver.
        self.call("DELETE", "", None);
    }
}

fn call(driver: SocketAddr, method: &str, path: &str, body: Option<Value>) -> Value {
    let body = body.map(|it| it.to_string()).unwrap_or_default();
    let mut stream = connect(driver);
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an open socket");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).expect("room");
    let mut answer = Vec::new();
    let json = until("the whole answer of the driver", || {
        let mut part = [0; 65_536];
        let count = stream.read(&mut part).expect("an answer");
        answer.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        (body.len() >= length.expect("a length")).then(|| body.to_owned())
    });
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert!(value["value"]["error"].is_null(), "{method} {path}: {value}");
    value["value"].clone()
}

/// The texts of the row of a backend.
fn row_of(backend: SocketAddr) -> String {
    format!(
        "const row = [...document.querySelectorAll('#routes tr')].find((it) => it.cells[0].textContent === '{backend}'); \
         if (!row) return null; "
    )
}

const HTTP: &[u8] = b"GET /one HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n";

#[test]
fn the_page_shows_what_goes_on_and_a_backend_that_dies_turns_red_without_a_reload() {
    if !need(&["chromium", "chromedriver", "nginx"]) {
        return;
    }
    let [mut first, second] = [Web::start(100, ""), Web::start(100, "")];
    let any = Backend::echo("any");
    let routes = format!(
        "[[protocols]]\nname = \"http\"\nforward_to = [\"{}\", \"{}\"]\n\
         health = {{ kind = \"tcp\", interval_ms = 200, timeout_ms = 200, rise = 1, fall = 1 }}\n\n",
        first.address, second.address
    );
    let proxy = Proxy::start(&[ADMIN, &routes, &route("https", "", any.address())].concat());
    let admin = admin_of(&proxy);
    let browser = Browser::start();
    browser.screen(1200, 900, "light");
    browser.open(&format!("http://{admin}/"));
    browser.wait(
        "a page that has heard of its program",
        "return document.getElementById('state').textContent === 'serving'",
    );
    browser.run("window.isTheSame = true;");

    for _ in 0..20 {
        let answer = ask(proxy.address(), HTTP);
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    for web in [&first, &second] {
        let of_server = until("ten lines in the log of a server", || {
            let count = web.answered(200).len();
            (count == 10).then_some(count)
        });
        let script = row_of(web.address)
            + "return row.cells[4].textContent === '10' ? [...row.cells].map((it) => it.textContent) : null;";
        let cells = browser.wait("ten in the row of the page", &script);
        assert_eq!(cells[2], "alive", "{cells}");
        let joined = format!("backend=\"{}\"}} {of_server}", web.address);
        let metrics = super::get(admin, "/metrics").body;
        let is_it = |line: &str| {
            line.starts_with("refractium_backend_joined_total") && line.ends_with(&joined)
        };
        assert!(metrics.lines().any(is_it), "{joined}\n{metrics}");
        let status = status(admin);
        let is_its =
            |it: &&refractium::admin::BackendStatus| it.endpoint == web.address.to_string();
        assert_eq!(status.routes[0].backends.iter().find(is_its).expect("a backend").total, 10);
    }
    let decision = browser.wait(
        "a decision with where it went",
        "const row = [...document.querySelectorAll('#decisions tr')].find((it) => it.cells[3].textContent === 'web.example' && it.cells[7].textContent); \
         return row ? [...row.cells].map((it) => it.textContent) : null;",
    );
    assert_eq!((&decision[2], &decision[4]), (&json!("http"), &json!("verdict")), "{decision}");
    assert_eq!(decision[5], HTTP.len().to_string(), "{decision}");
    let went = [first.address, second.address].map(|it| json!(it.to_string()));
    assert!(went.contains(&decision[7]), "{decision}");

    let color = row_of(first.address) + "return getComputedStyle(row).backgroundColor;";
    let before = browser.run(&color);
    first.kill();
    browser.wait(
        "a row that says down",
        &(row_of(first.address)
            + "return row.className === 'backend down' && row.cells[2].textContent === 'down';"),
    );
    let after = browser.run(&color);
    assert_ne!(before, after);
    let parts: Vec<u32> = after
        .as_str()
        .expect("a color")
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse().ok())
        .collect();
    assert!(parts[0] > parts[1] && parts[0] > parts[2], "not red: {after}");
    first.restart();
    browser.wait(
        "a row that says alive again",
        &(row_of(first.address) + "return row.cells[2].textContent === 'alive';"),
    );
    assert_eq!(browser.run("return window.isTheSame === true && performance.getEntriesByType('navigation')[0].type;"), "navigate");

    for width in [1200, 390] {
        browser.screen(width, 900, "dark");
        let fits = browser.wait(
            "a page as wide as its screen",
            "return [document.documentElement.scrollWidth, innerWidth];",
        );
        assert_eq!(fits, json!([width, width]));
    }
    assert_eq!(browser.complaints(), json!([]));
}

/// What clients say is text on the page, whatever it says; and all there is to do can be done with keys.
#[test]
fn the_page_takes_nothing_for_markup_and_is_used_with_keys() {
    if !need(&["chromium", "chromedriver"]) {
        return;
    }
    let web = Backend::echo("web");
    let routes = "[[protocols]]\nname = \"m\"\npatterns = \"M\"\n".to_owned()
        + &format!("forward_to = \"{}\"\n\n", web.address())
        + &route("http", "", web.address());
    let proxy = Proxy::start(&[ADMIN, &routes].concat());
    let browser = Browser::start();
    browser.open(&format!("http://{}/", admin_of(&proxy)));
    ask(proxy.address(), b"GET / HTTP/1.1\r\nHost: <img/src=x/onerror=alert(1)>\r\n\r\n");
    ask(proxy.address(), b"nobody's <script>alert(1)</script>");
    browser
        .wait("both decisions", "return document.querySelectorAll('#decisions tr').length === 2;");
    let strange = "return document.querySelectorAll('#decisions img, #decisions script, #routes img').length;";
    assert_eq!(browser.run(strange), 0);

    let keys = |of: &str, text: &str| {
        let found =
            browser.call("POST", "/element", Some(json!({ "using": "css selector", "value": of })));
        let id = found
            .as_object()
            .and_then(|it| it.values().next()?.as_str())
            .expect("an element")
            .to_owned();
        browser.call("POST", &format!("/element/{id}/value"), Some(json!({ "text": text })));
    };
    keys("#filter", "no such route");
    browser.wait("no row", "return document.querySelectorAll('#routes tr').length === 0;");
    keys("#filter", &"\u{e003}".repeat(13));
    browser.wait("all rows", "return document.querySelectorAll('#routes tr').length === 4;");
    // From the filter the tab key leads to the routes, then to the button.
    keys("#filter", "\u{e004}");
    assert_eq!(
        browser.run("return document.activeElement.getAttribute('aria-labelledby');"),
        "routes-title"
    );
    keys("#pause", "\u{e007}");
    browser.wait(
        "a pause",
        "return document.getElementById('pause').getAttribute('aria-pressed') === 'true';",
    );
    assert_eq!(browser.complaints(), json!([]));
}

/// Draws docs/admin-*.png anew: a person looks at them.
#[test]
#[ignore = "writes pictures into docs/"]
fn the_page_is_drawn_for_the_documentation() {
    if !need(&["chromium", "chromedriver"]) {
        return;
    }
    super::pictures::draw(|admin, draw| {
        let browser = Browser::start();
        for (name, width, height, scheme) in [
            ("light", 1200, 1180, "light"),
            ("dark", 1200, 1180, "dark"),
            ("phone", 390, 1400, "dark"),
        ] {
            browser.screen(width, height, scheme);
            browser.open(&format!("http://{admin}/"));
            browser.wait(
                "decisions",
                "return document.querySelectorAll('#decisions tr').length >= 10;",
            );
            draw();
            let drawn = browser.call("GET", "/screenshot", None);
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/admin-{name}.png"));
            std::fs::write(file, super::pictures::decoded(drawn.as_str().expect("a picture")))
                .expect("room");
        }
    });
}
