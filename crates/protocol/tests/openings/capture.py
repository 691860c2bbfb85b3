#!/usr/bin/env python3
"""Captures what real clients send first.

Every client below is run against a recorder on 127.0.0.1; the first flight (everything until 300 ms of silence) or the
first datagram becomes `<protocol>/<name>.bin` beside this script, and SOURCES.md says where each file came from. Run it
by hand when a client is added; the tests only read what it wrote. `capture.py https/curl` captures again only the files
whose path begins like that and leaves the rest, with their rows in SOURCES.md, alone.

Debian packages: curl wget git openssh-client openssl gnutls-bin nghttp2-client lftp bind9-dnsutils chromium
knot-dnsutils ldnsutils
"""

import os
import pathlib
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SILENCE = 0.3  # seconds without a byte that end a flight
DEADLINE = 10.0  # seconds until a client must have spoken
BROWSER_DEADLINE = 40.0
CONNECTION_LIMIT = 5.0  # seconds one connection is recorded at most

VERSIONS = {
    "curl": ["curl", "--version"],
    "wget": ["wget", "--version"],
    "git": ["git", "--version"],
    "ssh": ["ssh", "-V"],
    "sftp": ["ssh", "-V"],
    "openssl": ["openssl", "version"],
    "gnutls-cli": ["gnutls-cli", "--version"],
    "nghttp": ["nghttp", "--version"],
    "h2load": ["h2load", "--version"],
    "lftp": ["lftp", "--version"],
    "dig": ["dig", "-v"],
    "delv": ["delv", "-v"],
    "drill": ["drill", "-v"],
    "kdig": ["kdig", "--version"],
    "nsupdate": ["nsupdate", "-V"],
    "python3": [sys.executable, "-c", "import platform, ssl; print('Python', platform.python_version(), ssl.OPENSSL_VERSION)"],
    "chromium": ["chromium", "--version"],
}

CURL = "curl -s -k -m 5 --resolve a.example:{port}:127.0.0.1 "
GIT = "git -c http.sslVerify=false -c http.curloptResolve=a.example:{port}:127.0.0.1 "
SSH = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p {port} "
S_CLIENT = "openssl s_client -connect 127.0.0.1:{port} "
NAMED = S_CLIENT + "-servername a.example "
GNUTLS = "gnutls-cli --insecure --port {port} --sni-hostname a.example "
CHROMIUM = (
    "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --user-data-dir={home}/profile"
    " '--host-resolver-rules=MAP * 127.0.0.1' --disable-features=HttpsUpgrades "
)


def python(code):
    return "python3 -c " + shlex.quote(code)


def python_tls(setup, name):
    return python(
        "import socket, ssl; c = ssl.create_default_context(); c.check_hostname = False; "
        f"c.verify_mode = ssl.CERT_NONE; {setup}"
        f"c.wrap_socket(socket.create_connection(('127.0.0.1', {{port}}), 5), server_hostname={name})"
    )


HTTP = {
    "curl-get": CURL + "--http1.1 http://a.example:{port}/index.html?q=1",
    "curl-http10": CURL + "--http1.0 http://a.example:{port}/",
    "curl-head": CURL + "-I http://a.example:{port}/",
    "curl-upper-host": CURL + "-H 'Host: A.EXAMPLE:8080' http://a.example:{port}/",
    "curl-trailing-dot": CURL + "-H 'Host: a.example.' http://a.example:{port}/",
    "curl-post": CURL + "-d name=value http://a.example:{port}/form",
    "curl-upload": CURL + "-H 'Expect: 100-continue' -X PUT -d body http://a.example:{port}/file",
    "curl-options-star": CURL + "-X OPTIONS --request-target '*' http://a.example:{port}/",
    "curl-propfind": CURL + "-X PROPFIND -H 'Depth: 1' http://a.example:{port}/dav/",
    "curl-mkcol": CURL + "-X MKCOL http://a.example:{port}/dav/new/",
    "curl-proxy-absolute": CURL + "-x http://127.0.0.1:{port} http://a.example/path",
    "curl-proxy-connect": CURL + "-x http://127.0.0.1:{port} https://a.example/",
    "curl-websocket": CURL + "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'"
    " -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' http://a.example:{port}/ws",
    "curl-h2c-upgrade": CURL + "--http2 http://a.example:{port}/",
    "curl-h2-prior-knowledge": CURL + "--http2-prior-knowledge http://a.example:{port}/",
    "curl-ipv4-host": CURL + "http://127.0.0.1:{port}/",
    "wget-get": "wget -q -t 1 -T 5 -O /dev/null http://localhost:{port}/",
    "wget-post": "wget -q -t 1 -T 5 -O /dev/null --post-data=a=b http://localhost:{port}/",
    "git-ls-remote": GIT + "ls-remote http://a.example:{port}/repository.git",
    "nghttp-h2": "nghttp -n http://127.0.0.1:{port}/",
    "nghttp-h2c-upgrade": "nghttp -n -u http://127.0.0.1:{port}/",
    "h2load-h1": "h2load --h1 -n 1 -c 1 -t 1 http://127.0.0.1:{port}/",
    "lftp-get": "lftp -c 'set net:max-retries 1; set net:timeout 5; cat http://localhost:{port}/file'",
    "python-get": python("import http.client as h; c = h.HTTPConnection('127.0.0.1', {port}, timeout=5); "
                         "c.request('GET', '/', headers=dict(Host='a.example')); c.getresponse()"),
    "python-urllib": python("import urllib.request as u; u.urlopen('http://localhost:{port}/', timeout=5)"),
    "chromium-get": CHROMIUM + "http://a.example:{port}/",
}

HTTPS = {
    # curl, which has OpenSSL here
    "curl-default": CURL + "https://a.example:{port}/",
    "curl-http11": CURL + "--http1.1 https://a.example:{port}/",
    "curl-http2": CURL + "--http2 https://a.example:{port}/",
    "curl-no-alpn": CURL + "--no-alpn https://a.example:{port}/",
    "curl-tls12-max": CURL + "--tls-max 1.2 https://a.example:{port}/",
    "curl-tls13-only": CURL + "--tlsv1.3 https://a.example:{port}/",
    "curl-tls10-max": CURL + "--tlsv1.0 --tls-max 1.0 --ciphers ALL:@SECLEVEL=0 https://a.example:{port}/",
    "curl-one-cipher": CURL + "--tls-max 1.2 --ciphers ECDHE-RSA-AES128-GCM-SHA256 https://a.example:{port}/",
    "curl-one-curve": CURL + "--curves P-384 https://a.example:{port}/",
    "curl-upper-url": CURL + "--resolve A.EXAMPLE:{port}:127.0.0.1 https://A.EXAMPLE:{port}/",
    "curl-ipv4-nosni": CURL + "https://127.0.0.1:{port}/",
    "curl-status": CURL + "--cert-status https://a.example:{port}/",
    "curl-smtps": CURL + "smtps://a.example:{port}/",
    "curl-imaps": CURL + "imaps://a.example:{port}/",
    "curl-ftps": CURL + "ftps://a.example:{port}/",
    # openssl s_client
    "openssl-default": NAMED,
    "openssl-nosni": S_CLIENT + "-noservername",
    "openssl-upper": S_CLIENT + "-servername A.EXAMPLE",
    "openssl-trailing-dot": S_CLIENT + "-servername a.example.",
    "openssl-address-in-sni": S_CLIENT + "-servername 127.0.0.1",
    "openssl-tls10": NAMED + "-tls1 -cipher ALL:@SECLEVEL=0",
    "openssl-tls11": NAMED + "-tls1_1 -cipher ALL:@SECLEVEL=0",
    "openssl-tls12": NAMED + "-tls1_2",
    "openssl-tls12-nosni": S_CLIENT + "-tls1_2 -noservername",
    "openssl-tls13": NAMED + "-tls1_3",
    "openssl-tls13-nosni": S_CLIENT + "-tls1_3 -noservername",
    "openssl-alpn-h2": NAMED + "-alpn h2",
    "openssl-alpn-h2-http11": NAMED + "-alpn h2,http/1.1",
    "openssl-alpn-acme": NAMED + "-alpn acme-tls/1",
    "openssl-alpn-many": NAMED + "-alpn postgresql,imap,mqtt,dot,xmpp-client,ntske/1",
    "openssl-alpn-nosni": S_CLIENT + "-noservername -alpn h2",
    "openssl-group-p521": NAMED + "-groups P-521",
    "openssl-group-x448": NAMED + "-groups X448",
    "openssl-group-ffdhe8192": NAMED + "-groups ffdhe8192",
    "openssl-group-many": NAMED + "-groups P-256:P-384:X25519:ffdhe2048:ffdhe3072",
    "openssl-cipher-all": NAMED + "-cipher ALL:COMPLEMENTOFALL:@SECLEVEL=0",
    "openssl-cipher-chacha": NAMED + "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
    "openssl-sigalg-one": NAMED + "-sigalgs ECDSA+SHA256",
    "openssl-sigalg-many": NAMED + "-sigalgs RSA+SHA512:RSA-PSS+SHA256:ECDSA+SHA384:ed25519:ed448",
    "openssl-no-ticket": NAMED + "-no_ticket",
    "openssl-status-npn": NAMED + "-tls1_2 -status -nextprotoneg http/1.1",
    "openssl-max-fragment": NAMED + "-maxfraglen 512",
    "openssl-srtp": NAMED + "-tls1_2 -use_srtp SRTP_AES128_CM_SHA1_80",
    "openssl-psk": NAMED + "-psk 0102030405060708 -psk_identity someone",
    # gnutls-cli
    "gnutls-default": GNUTLS + "127.0.0.1",
    "gnutls-nosni": "gnutls-cli --insecure --port {port} --disable-sni 127.0.0.1",
    "gnutls-tls12": GNUTLS + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2 127.0.0.1",
    "gnutls-tls13": GNUTLS + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3 127.0.0.1",
    "gnutls-secure256": GNUTLS + "--priority SECURE256 127.0.0.1",
    "gnutls-legacy": GNUTLS + "--priority LEGACY 127.0.0.1",
    "gnutls-alpn": GNUTLS + "--alpn h2 --alpn http/1.1 127.0.0.1",
    "gnutls-padded": GNUTLS + "--priority NORMAL:%DUMBFW 127.0.0.1",
    "gnutls-ssl3-record": GNUTLS + "--priority NORMAL:%SSL3_RECORD_VERSION 127.0.0.1",
    "gnutls-no-extensions-nosni": GNUTLS + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_EXTENSIONS 127.0.0.1",
    # others
    "wget-localhost": "wget -q -t 1 -T 5 --no-check-certificate -O /dev/null https://localhost:{port}/",
    "git-ls-remote": GIT + "ls-remote https://a.example:{port}/repository.git",
    "nghttp-localhost": "nghttp -n https://localhost:{port}/",
    "h2load-localhost": "h2load -n 1 -c 1 -t 1 https://localhost:{port}/",
    "lftp-https-localhost": "lftp -c 'set net:max-retries 1; set net:timeout 5; cat https://localhost:{port}/file'",
    "lftp-ftps-localhost": "lftp -c 'set net:max-retries 1; set net:timeout 5; open ftps://localhost:{port}; ls'",
    "python-default": python_tls("", "'a.example'"),
    "python-nosni": python_tls("", "None"),
    "python-alpn": python_tls("c.set_alpn_protocols(['h2', 'http/1.1']); ", "'a.example'"),
    "python-alpn-nosni": python_tls("c.set_alpn_protocols(['http/1.1']); ", "None"),
    "python-tls12": python_tls("c.maximum_version = ssl.TLSVersion.TLSv1_2; ", "'a.example'"),
    "chromium-post-quantum": CHROMIUM + "https://a.example:{port}/",
}

SECURE_SHELL = {
    "openssh": SSH + "user@127.0.0.1 true",
    "openssh-subsystem": "sftp -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    " -P {port} user@127.0.0.1",
    "git-over-ssh": "git -c 'core.sshCommand=ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no"
    " -o UserKnownHostsFile=/dev/null' ls-remote ssh://git@127.0.0.1:{port}/repository.git",
    "libssh2-curl": "curl -s -k -m 5 -u user:word sftp://127.0.0.1:{port}/",
}

FTP = {
    "curl-user": "curl -s -m 5 ftp://127.0.0.1:{port}/",
    "curl-user-named": "curl -s -m 5 -u someone:word ftp://127.0.0.1:{port}/",
    "curl-auth": "curl -s -k -m 5 --ssl-reqd ftp://127.0.0.1:{port}/",
    "wget-user": "wget -q -t 1 -T 5 -O /dev/null ftp://127.0.0.1:{port}/file",
    "lftp-feat": "lftp -c 'set net:max-retries 1; set net:timeout 5; open ftp://127.0.0.1:{port}; ls'",
    "lftp-auth-tls": "lftp -c 'set net:max-retries 1; set net:timeout 5; set ftp:use-feat no; set ftp:ssl-force yes;"
    " open -u someone,word ftp://127.0.0.1:{port}; ls'",
    "lftp-user": "lftp -c 'set net:max-retries 1; set net:timeout 5; set ftp:use-feat no; set ftp:ssl-allow no;"
    " open -u someone,word ftp://127.0.0.1:{port}; ls'",
    "python-user": python("import ftplib; f = ftplib.FTP(); f.connect('127.0.0.1', {port}, 5); f.login()"),
    "python-auth-tls": python("import ftplib; f = ftplib.FTP_TLS(); f.connect('127.0.0.1', {port}, 5); f.login()"),
}

DIG = "dig @127.0.0.1 -p {port} +tries=1 +time=2 +notcp "
KEY = "-y hmac-sha256:key.a.example:AAECAwQFBgcICQoLDA0ODw== "
KDIG = "kdig @127.0.0.1 -p {port} +retry=0 +time=2 +notcp "
DRILL = "drill -p {port} @127.0.0.1 "
DNS = {
    "dig-a": DIG + "a.example A",
    "dig-aaaa": DIG + "a.example AAAA",
    "dig-noedns": DIG + "+noedns a.example A",
    "dig-edns-cookie": DIG + "+cookie=0102030405060708 a.example A",
    "dig-nocookie": DIG + "+nocookie a.example A",
    "dig-dnssec": DIG + "+dnssec +cdflag a.example DNSKEY",
    "dig-subnet-nsid": DIG + "+subnet=192.0.2.0/24 +nsid a.example A",
    "dig-padding": DIG + "+padding=128 a.example A",
    "dig-no-recursion": DIG + "+norecurse +noadflag a.example SOA",
    "dig-any": DIG + "a.example ANY",
    "dig-root-ns": DIG + ". NS",
    "dig-https-record": DIG + "a.example HTTPS",
    "dig-srv": DIG + "_xmpp-client._tcp.a.example SRV",
    "dig-reverse": DIG + "-x 192.0.2.1",
    "dig-mixed-case": DIG + "wWw.A.eXaMpLe A",
    "dig-chaos-version": DIG + "version.bind CH TXT",
    "dig-hesiod": DIG + "a.example HS TXT",
    "dig-notify": DIG + "+opcode=notify +aaflag +norecurse a.example SOA",
    "dig-ixfr": DIG + "a.example ixfr=1",
    "dig-signed": DIG + KEY + "a.example A",
    "dig-padding-468": DIG + "+padding=468 a.example A",
    "dig-subnet6": DIG + "+subnet=2001:db8::/56 a.example AAAA",
    "dig-keepalive-expire": DIG + "+keepalive +expire a.example SOA",
    "dig-many-labels": DIG + "a." * 126 + " A",
    "dig-longest-name": DIG + ".".join(["x" * 63] * 3 + ["y" * 61]) + " A",
    "dig-signed-notify": DIG + KEY + "+opcode=notify +aaflag +norecurse a.example SOA",
    "dig-signed-ixfr": DIG + KEY + "a.example ixfr=1",
    "delv-a": "delv @127.0.0.1 -p {port} -i a.example A",
    "delv-dnssec": "delv @127.0.0.1 -p {port} a.example A",
    "kdig-a": KDIG + "a.example A",
    "kdig-edns-padded": KDIG + "+edns +padding=128 +cookie +nsid a.example AAAA",
    "kdig-ixfr": KDIG + "a.example IXFR=1",
    "kdig-notify": KDIG + "a.example NOTIFY=1",
    "kdig-signed": KDIG + KEY + "a.example TXT",
    "drill-a": DRILL + "a.example A",
    "drill-dnssec": DRILL + "-D a.example DNSKEY",
    "nsupdate-add": ["zone a.example", "update add new.a.example 60 A 192.0.2.1", "send"],
    "nsupdate-delete": ["zone a.example", "prereq yxdomain old.a.example", "update delete old.a.example", "send"],
    "nsupdate-prerequisites": [
        "zone a.example",
        "prereq nxdomain new.a.example",
        "prereq yxrrset a.example SOA",
        "prereq nxrrset a.example TXT",
        "prereq yxrrset old.a.example A 192.0.2.1",
        "update delete old.a.example A",
        "update add new.a.example 60 A 192.0.2.1",
        "update add new.a.example 60 AAAA 2001:db8::1",
        "send",
    ],
    "nsupdate-signed": [
        "key hmac-sha256:key.a.example AAECAwQFBgcICQoLDA0ODw==",
        "zone a.example",
        "update add new.a.example 60 A 192.0.2.1",
        "send",
    ],
    "nsupdate-long-name": ["zone a.example", f"update add {'x' * 63}.{'y' * 60}.a.example 60 TXT text", "send"],
}

PLAN = {"http": HTTP, "https": HTTPS, "ssh": SECURE_SHELL, "ftp": FTP, "dns": DNS}


class StreamRecorder:
    """Accepts connections, greets if told to, and queues what each client sends first."""

    def __init__(self, greeting=b"", port=0):
        self.greeting = greeting
        self.flights = queue.Queue()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(0.2)
        self.port = self.listener.getsockname()[1]
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self.record, args=(connection,), daemon=True).start()

    def record(self, connection):
        flight, end = b"", time.monotonic() + CONNECTION_LIMIT
        with connection:
            try:
                connection.sendall(self.greeting)
                while time.monotonic() < end:
                    connection.settimeout(SILENCE if flight else CONNECTION_LIMIT)
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    flight += piece
            except OSError:
                pass  # silence and resets end a flight; what came before counts
        if flight:
            self.flights.put(flight)

    def first(self, deadline):
        return self.flights.get(timeout=deadline)

    def close(self):
        self.open = False
        self.listener.close()


class DatagramRecorder:
    """Receives one datagram."""

    def __init__(self, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]

    def first(self, deadline):
        self.socket.settimeout(deadline)
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            raise queue.Empty from None

    def close(self):
        self.socket.close()


def end(process):
    """Ends one client and the children in its own process group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=3)
        except ProcessLookupError:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
        return


def capture(protocol, call):
    """Runs one client against a new recorder; gives its first flight, or None if it said nothing in time."""
    if protocol == "dns":
        recorder = DatagramRecorder()
    else:
        recorder = StreamRecorder(b"220 a.example FTP ready\r\n" if protocol == "ftp" else b"")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments, script = command(call, recorder.port, home)
        arguments[0] = sys.executable if arguments[0] == "python3" else arguments[0]
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C", "TERM": "dumb", "GIT_CONFIG_NOSYSTEM": "1"}
        process = subprocess.Popen(
            arguments,
            env=environment,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if script:
                process.stdin.write(script.encode())
                process.stdin.close()
            return recorder.first(BROWSER_DEADLINE if arguments[0] == "chromium" else DEADLINE)
        except queue.Empty:
            return None
        finally:
            end(process)
            recorder.close()


def command(call, port, home):
    """The arguments of a client and what it reads from standard input; a list is a script for nsupdate."""
    if isinstance(call, list):
        return ["nsupdate"], "\n".join([f"server 127.0.0.1 {port}", *call, ""])
    return [part.format(port=port, home=home) for part in shlex.split(call)], ""


def shown(call):
    """How a client was called, for SOURCES.md."""
    if isinstance(call, list):
        return "nsupdate, reading: " + "; ".join(["server 127.0.0.1 PORT", *call])
    return call.format(port="PORT", home="DIR").replace("|", "\\|").strip()


def version(client):
    """What the client prints as its version: the first words of its first line with a number."""
    done = subprocess.run(VERSIONS[client], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d\.\d", line)]
    return " ".join(re.sub(r"\([^)]*\)|\|", " ", lines[0]).split()[:5]).rstrip(".") if lines else "unknown"


def old_rows():
    """The rows of SOURCES.md by file, to keep those of files that are not captured again."""
    sources = HERE / "SOURCES.md"
    lines = sources.read_text().splitlines() if sources.exists() else []
    return {match[1]: line for line in lines if (match := re.match(r"\| `([^`]+\.bin)` \|", line))}


def main():
    wanted = sys.argv[1:] or [""]
    rows, versions, failed = old_rows(), {}, []
    for protocol, clients in PLAN.items():
        for name, call in clients.items():
            file = f"{protocol}/{name}.bin"
            if not file.startswith(tuple(wanted)):
                continue
            client = "nsupdate" if isinstance(call, list) else shlex.split(call)[0]
            if not shutil.which(client):
                print(f"{file}: skipped, no {client} here")
                continue
            versions[client] = versions.get(client) or version(client)
            flight = capture(protocol, call)
            if flight is None:
                print(f"{file}: the client said nothing")
                failed.append(file)
                continue
            print(f"{file}: {len(flight)} bytes")
            (HERE / protocol).mkdir(exist_ok=True)
            (HERE / file).write_bytes(flight)
            rows[file] = f"| `{file}` | {client} | {versions[client]} | `{shown(call)}` |"
    title = "# Where the openings come from\n\nWritten by `capture.py`; PORT and DIR stand for what the system chose.\n\n"
    head = "| file | client | version | called as |\n|---|---|---|---|\n"
    known = [f"{protocol}/{name}.bin" for protocol, clients in PLAN.items() for name in clients]
    table = "".join(rows[file] + "\n" for file in known if file in rows)
    (HERE / "SOURCES.md").write_text(title + head + table)
    sys.exit(f"not captured: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
