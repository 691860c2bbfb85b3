#!/usr/bin/env python3
"""Captures what clients of other protocols send first: what no built-in protocol may take for its own.

Like `../openings/capture.py`, whose recorders it uses, but in a network of its own, where every port is free:

    unshare --net sh -c 'ip link set lo up; ./capture.py'

`capture.py tcp/redis` captures again only the files whose path begins like that. What no program here sends is written
byte by byte by `built.py`. SOURCES.md says of each file which it is.

Debian packages: amqp-tools aria2 c-icap charon-cmd chromium coturn curl default-mysql-client dnsmasq-base ffmpeg freeradius-utils freetds-bin git gnutls-bin ii kcat knot-dnsutils krb5-user ldap-utils libcoap3-bin libfcgi-bin
libmemcached-tools mbpoll mosquitto-clients ntpsec-ntpdig openssl openvpn postgresql-client-15 python3-cassandra
python3-pymongo qstat rdesktop redis-tools rsync rtmpdump samba-common-bin sic sip-tester sipsak smbclient snmp sntp
stun-client subversion swaks telnet udhcpc whois wireguard-go wireguard-tools x11-utils
"""

import dataclasses
import pathlib
import queue
import re
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "openings"))

from built import BUILT  # noqa: E402
from capture import DatagramRecorder, StreamRecorder, end  # noqa: E402

DEADLINE = 12.0  # seconds until a client must have spoken


@dataclasses.dataclass
class Client:
    call: str
    greeting: bytes = b""  # what the server says first
    script: str = ""  # what the client reads from standard input
    port: int = 0  # where the client cannot be told which
    skip: int = 0  # datagrams that come before the one to keep
    deadline: float = DEADLINE


def shell(*steps, **rest):
    return Client("sh -c " + shlex.quote("; ".join(steps)), **rest)


def python(code, **rest):
    return Client("python3 -c " + shlex.quote(code), **rest)


# HandshakeV10 of MySQL: version 8.0.0, a scramble of 20 bytes, TLS and plug-in authentication offered.
GREETING = b"\x0a8.0.0\0" + b"\x01\0\0\0" + b"12345678\0" + b"\xff\xff\x21\x02\0\xff\xdf\x15" + bytes(10)
GREETING += b"123456789012\0mysql_native_password\0"
MYSQL = bytes([len(GREETING), 0, 0, 0]) + GREETING
SVN = b"( success ( 2 2 ( ANONYMOUS ) ( edit-pipeline svndiff1 absent-entries commit-revprops ) ) ) "

CERTIFICATE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=a.example"
VPN = (
    "openvpn --dev null --ifconfig-noexec --client --nobind --ca c --cert c --key k --remote 127.0.0.1 {port} "
    "--connect-retry-max 1 "
)
VPN_KEY = "openvpn --genkey secret s"
DTLS = "openssl s_client -connect 127.0.0.1:{port} "
STARTTLS = "openssl s_client -connect 127.0.0.1:{port} -xmpphost a.example -starttls "
KDC = "printf '[libdefaults]\\ndefault_realm = A.EXAMPLE\\n%s\\n[realms]\\nA.EXAMPLE = {{\\nkdc = 127.0.0.1:{port}\\n}}\\n' "
CHROMIUM = (
    "chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --enable-quic"
    " --disable-component-update --disable-sync --user-data-dir={home}/profile"
    " '--host-resolver-rules=MAP * 127.0.0.1' --origin-to-force-quic-on=a.example:{port} https://a.example:{port}/"
)
SNMP = "-t 1 -r 0 127.0.0.1:{port} 1.3.6.1.2.1.1.1.0"
RADIUS = "radclient -r 1 -t 1 127.0.0.1:{port} "
FFMPEG = "ffmpeg -loglevel quiet -re -f lavfi -i sine "
FILE = "echo text > file"
SIPP = "sipp -sn uac 127.0.0.1:{port} -s someone -m 1 -timeout 3 -i 127.0.0.1 "
CURL = "curl -s -m 5 "
COAP = "coap-client-openssl -B 2 -m get "
X_SERVER = "Xvfb :7 -screen 0 640x480x16 -nolisten tcp"
WIREGUARD = [
    "wireguard-go -f wg7 & sleep 1",
    "wg genkey > own",
    "wg set wg7 private-key own peer $(wg genkey | wg pubkey) endpoint 127.0.0.1:{port} allowed-ips 192.0.2.0/24"
    " persistent-keepalive 1",
    "ip link set wg7 up",
    "sleep 5",
]

PLAN = {
    "udp/bittorrent-dht-aria2": Client(
        "aria2c --enable-dht --dht-entry-point=127.0.0.1:{port} --dht-file-path={home}/dht --bt-metadata-only"
        " 'magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567'"),
    "udp/coap-libcoap": Client(COAP + "coap://127.0.0.1:{port}/time"),
    # Without IPv6 addresses: they would make resolvers forget 127.0.0.1 for who comes after.
    "udp/dhcp-udhcpc": shell("ip link add d0 type veth peer name d1", "ip link set d0 addrgenmode none up",
                             "ip link set d1 addrgenmode none up", "udhcpc -f -i d0 -n -q -t 2 -s /bin/true", port=67),
    "udp/dtls-openssl": Client(DTLS + "-dtls"),
    "udp/dtls-openssl-10": Client(DTLS + "-dtls1 -cipher ALL:@SECLEVEL=0"),
    "udp/dtls-gnutls": Client("gnutls-cli --udp --insecure --port {port} --sni-hostname a.example 127.0.0.1"),
    "udp/ike-strongswan": Client("charon-cmd --host 127.0.0.1 --identity someone --profile ikev2-eap", port=4500),
    "udp/ike-strongswan-v1": Client("charon-cmd --host 127.0.0.1 --identity someone --profile ikev1-xauth-psk", port=4500),
    "udp/kerberos-kinit": shell(KDC + "'' > k5", "KRB5_CONFIG=k5 kinit someone < /dev/null"),
    "udp/memcached-libmemcached": shell(FILE, "memccp --udp --servers=127.0.0.1:{port} file"),
    "udp/mpegts-ffmpeg": Client(FFMPEG + "-f mpegts udp://127.0.0.1:{port}"),
    "udp/netbios-nmblookup": Client("nmblookup -U 127.0.0.1 a.example", port=137),
    "udp/ntp-ntpdig": Client("ntpdig -t 2 127.0.0.1", port=123),
    "udp/ntp-sntp": Client("sntp -t 2 127.0.0.1", port=123),
    "udp/openvpn-plain": shell(CERTIFICATE, VPN + "--proto udp"),
    "udp/openvpn-tls-auth": shell(CERTIFICATE, VPN_KEY, VPN + "--proto udp --tls-auth s 1"),
    "udp/openvpn-tls-crypt": shell(CERTIFICATE, VPN_KEY, VPN + "--proto udp --tls-crypt s"),
    "udp/quic-chromium": Client(CHROMIUM, deadline=40),
    "udp/quic-chromium-second": Client(CHROMIUM, skip=1, deadline=40),
    "udp/quake3-qstat": Client("quakestat -retry 1 -q3s 127.0.0.1:{port}"),
    "udp/quakeworld-qstat": Client("quakestat -retry 1 -qws 127.0.0.1:{port}"),
    "udp/source-engine-qstat": Client("quakestat -retry 1 -a2s 127.0.0.1:{port}"),
    "udp/gamespy-qstat": Client("quakestat -retry 1 -gs3 127.0.0.1:{port}"),
    "udp/doom3-qstat": Client("quakestat -retry 1 -dm3s 127.0.0.1:{port}"),
    "udp/tribes2-qstat": Client("quakestat -retry 1 -t2s 127.0.0.1:{port}"),
    "udp/radius-access-request": Client(RADIUS + "auth secret", script="User-Name = someone, User-Password = word\n"),
    "udp/radius-accounting": Client(RADIUS + "acct secret", script="Acct-Status-Type = Start, Acct-Session-Id = 1\n"),
    "udp/radius-status": Client(RADIUS + "status secret", script="Message-Authenticator = 0x00\n"),
    "udp/rtp-ffmpeg": Client(FFMPEG + "-f rtp rtp://127.0.0.1:{port}"),
    "udp/sip-sipsak": Client("sipsak -s sip:someone@127.0.0.1:{port} -H 127.0.0.1"),
    "udp/sip-sipp": Client(SIPP),
    "udp/snmp-get-v1": Client("snmpget -v1 -c public " + SNMP),
    "udp/snmp-get-v2c": Client("snmpget -v2c -c public " + SNMP),
    "udp/snmp-bulkwalk-v2c": Client("snmpbulkwalk -v2c -c public " + SNMP),
    "udp/snmp-get-v3": Client("snmpget -v3 -u someone -l noAuthNoPriv " + SNMP),
    "udp/snmp-set-v2c": Client("snmpset -v2c -c private " + SNMP + " s text"),
    "udp/snmp-trap-v2c": Client("snmptrap -v2c -c public 127.0.0.1:{port} 1 1.3.6.1.6.3.1.1.5.1"),
    "udp/srt-ffmpeg": Client(FFMPEG + "-f mpegts srt://127.0.0.1:{port}"),
    "udp/stun-coturn": Client("turnutils_stunclient -p {port} 127.0.0.1"),
    "udp/stun-rfc3489": Client("stun 127.0.0.1:{port} 1"),
    "udp/turn-coturn": Client("turnutils_uclient -p {port} -u someone -w word -n 1 -c -y 127.0.0.1"),
    "udp/syslog-logger": Client("logger -n 127.0.0.1 -P {port} -d --rfc5424=nohost -t test text"),
    "udp/tftp-read": Client(CURL + "tftp://127.0.0.1:{port}/file"),
    "udp/tftp-write": shell(FILE, CURL + "-T file tftp://127.0.0.1:{port}/file"),
    "udp/wireguard-go": shell(*WIREGUARD),
    "tcp/amqp-publish": Client("amqp-publish -u amqp://127.0.0.1:{port} -r queue -b text"),
    "tcp/cassandra-python": Client(
        "/usr/bin/python3 -c \"from cassandra.cluster import Cluster; Cluster(['127.0.0.1'], port={port}).connect()\""),
    "tcp/coap-libcoap": Client(COAP + "coap+tcp://127.0.0.1:{port}/time"),
    "tcp/dict-curl": Client(CURL + "dict://127.0.0.1:{port}/d:word", greeting=b"220 a.example\r\n"),
    "tcp/dns-dig": Client("dig @127.0.0.1 -p {port} +tcp +tries=1 +time=2 a.example A"),
    "tcp/dns-dig-axfr": Client("dig @127.0.0.1 -p {port} +tries=1 +time=2 a.example AXFR"),
    "tcp/dns-kdig": Client("kdig @127.0.0.1 -p {port} +tcp +retry=0 +time=2 a.example MX"),
    "tcp/fastcgi-cgi-fcgi": Client("env -i REQUEST_METHOD=GET SCRIPT_NAME=/x cgi-fcgi -bind -connect 127.0.0.1:{port}"),
    "tcp/git-ls-remote": Client("git ls-remote git://127.0.0.1:{port}/repository.git"),
    "tcp/gopher-curl": Client(CURL + "gopher://127.0.0.1:{port}/1/menu"),
    "tcp/icap-c-icap": Client("c-icap-client -i 127.0.0.1 -p {port} -s echo"),
    "tcp/imap-curl": Client(CURL + "imap://127.0.0.1:{port}/", greeting=b"* OK ready\r\n"),
    "tcp/imap-python": python("import imaplib; imaplib.IMAP4('127.0.0.1', {port}, 5)", greeting=b"* OK ready\r\n"),
    "tcp/irc-ii": Client("ii -s 127.0.0.1 -p {port} -n someone -f name -i {home}/irc"),
    "tcp/irc-sic": Client("sic -h 127.0.0.1 -p {port} -n someone"),
    "tcp/irc-openssl": Client(STARTTLS + "irc"),
    "tcp/kafka-kcat": Client("kcat -b 127.0.0.1:{port} -L -m 3"),
    "tcp/kerberos-kinit": shell(KDC + "udp_preference_limit=1 > k5", "KRB5_CONFIG=k5 kinit someone < /dev/null"),
    "tcp/ldap-bind": Client("ldapsearch -x -D cn=someone -w word -H ldap://127.0.0.1:{port} -o nettimeout=3"),
    "tcp/ldap-starttls": Client("ldapsearch -x -ZZ -H ldap://127.0.0.1:{port} -o nettimeout=3"),
    "tcp/ldap-curl": Client(CURL + "'ldap://127.0.0.1:{port}/dc=example?cn?sub'"),
    "tcp/managesieve-openssl": Client(STARTTLS + "sieve", greeting=b'"IMPLEMENTATION" "x"\r\n"STARTTLS"\r\nOK\r\n'),
    "tcp/memcached-text": Client("memcstat --servers=127.0.0.1:{port}"),
    "tcp/memcached-set": shell(FILE, "memccp --servers=127.0.0.1:{port} file"),
    "tcp/memcached-get": Client("memccat --servers=127.0.0.1:{port} key"),
    "tcp/memcached-binary": shell(FILE, "memccp --binary --servers=127.0.0.1:{port} file"),
    "tcp/modbus-mbpoll": Client("mbpoll -m tcp -p {port} -1 -t 3 127.0.0.1"),
    "tcp/mongodb-pymongo": Client(
        "/usr/bin/python3 -c \"import platform; platform.release = lambda: '6.1'; import pymongo; "
        "pymongo.MongoClient('127.0.0.1', {port}, serverSelectionTimeoutMS=3000).admin.command('ping')\""),
    "tcp/mqtt-mosquitto-31": Client("mosquitto_pub -h 127.0.0.1 -p {port} -V mqttv31 -i someone -t t -m text"),
    "tcp/mqtt-mosquitto-311": Client("mosquitto_pub -h 127.0.0.1 -p {port} -V mqttv311 -i someone -t t -m text"),
    "tcp/mqtt-mosquitto-5": Client("mosquitto_pub -h 127.0.0.1 -p {port} -V mqttv5 -i someone -u u -P word -t t -m text"),
    "tcp/mqtt-curl": Client(CURL + "mqtt://127.0.0.1:{port}/topic"),
    "tcp/mysql-plain": Client("mysql -h 127.0.0.1 -P {port} -u someone --skip-ssl", greeting=MYSQL),
    "tcp/mysql-ssl-request": Client("mysql -h 127.0.0.1 -P {port} -u someone --ssl", greeting=MYSQL),
    "tcp/netbios-smbclient": Client("smbclient -p 139 -m NT1 -L 127.0.0.1 -N", port=139),
    "tcp/nntp-openssl": Client(STARTTLS + "nntp", greeting=b"200 ready\r\n"),
    "tcp/nntp-python": python("import nntplib; nntplib.NNTP('127.0.0.1', {port}, timeout=5)", greeting=b"200 ready\r\n"),
    "tcp/openvpn-plain": shell(CERTIFICATE, VPN + "--proto tcp-client"),
    "tcp/openvpn-tls-auth": shell(CERTIFICATE, VPN_KEY, VPN + "--proto tcp-client --tls-auth s 1"),
    "tcp/openvpn-tls-crypt": shell(CERTIFICATE, VPN_KEY, VPN + "--proto tcp-client --tls-crypt s"),
    "tcp/pop3-curl": Client(CURL + "pop3://127.0.0.1:{port}/", greeting=b"+OK ready\r\n"),
    "tcp/pop3-openssl": Client(STARTTLS + "pop3", greeting=b"+OK ready\r\n"),
    "tcp/pop3-python-user": python("import poplib; poplib.POP3('127.0.0.1', {port}, 5).user('someone')",
                                   greeting=b"+OK ready\r\n"),
    "tcp/postgresql-gss": Client("psql 'host=127.0.0.1 port={port} user=someone dbname=base sslmode=prefer'"),
    "tcp/postgresql-ssl": Client("psql 'host=127.0.0.1 port={port} user=someone sslmode=require gssencmode=disable'"),
    "tcp/postgresql-plain": Client("psql 'host=127.0.0.1 port={port} user=someone sslmode=disable gssencmode=disable'"),
    "tcp/postgresql-openssl": Client(STARTTLS + "postgres"),
    "tcp/proxy-v1-curl": Client(CURL + "--haproxy-protocol http://127.0.0.1:{port}/"),
    "tcp/rdp-rdesktop": shell(X_SERVER + " & sleep 2", "DISPLAY=:7 rdesktop -u someone 127.0.0.1:{port} < /dev/null"),
    "tcp/redis-ping": Client("redis-cli -h 127.0.0.1 -p {port} ping"),
    "tcp/redis-get": Client("redis-cli -h 127.0.0.1 -p {port} get key"),
    "tcp/redis-auth": Client("redis-cli -h 127.0.0.1 -p {port} -a word get key"),
    "tcp/redis-hello": Client("redis-cli -h 127.0.0.1 -p {port} -3 get key"),
    "tcp/rsync-list": Client("rsync rsync://127.0.0.1:{port}/", greeting=b"@RSYNCD: 31.0\n"),
    "tcp/rtmp-rtmpdump": Client("rtmpdump -q -m 3 -r rtmp://127.0.0.1:{port}/a/b -o /dev/null"),
    "tcp/rtmp-ffmpeg": Client("ffmpeg -loglevel quiet -i rtmp://127.0.0.1:{port}/a/b -f null -"),
    "tcp/rtsp-ffmpeg": Client("ffmpeg -loglevel quiet -rtsp_transport tcp -i rtsp://127.0.0.1:{port}/stream -f null -"),
    "tcp/rtsp-curl": Client(CURL + "-X DESCRIBE rtsp://127.0.0.1:{port}/stream"),
    "tcp/sip-sipp": Client(SIPP + "-t t1"),
    "tcp/sip-sipsak": Client("sipsak -E tcp -s sip:someone@127.0.0.1:{port} -H 127.0.0.1"),
    "tcp/smb-smbclient": Client("smbclient -p {port} -L 127.0.0.1 -N"),
    "tcp/smb-smbclient-nt1": Client("smbclient -p {port} -m NT1 --option='client min protocol=NT1' -L 127.0.0.1 -N"),
    "tcp/smtp-swaks": Client("swaks --server 127.0.0.1:{port} --helo a.example -f a@a.example -t b@a.example --timeout 3",
                             greeting=b"220 a.example ESMTP\r\n"),
    "tcp/smtp-curl": Client(CURL + "smtp://127.0.0.1:{port}/a.example", greeting=b"220 a.example ESMTP\r\n"),
    "tcp/smtp-openssl": Client(STARTTLS + "smtp -name a.example", greeting=b"220 a.example ESMTP\r\n"),
    "tcp/lmtp-openssl": Client(STARTTLS + "lmtp -name a.example", greeting=b"220 a.example LMTP\r\n"),
    "tcp/socks4-curl": Client(CURL + "--socks4 127.0.0.1:{port} http://192.0.2.1/"),
    "tcp/socks4a-curl": Client(CURL + "--socks4a 127.0.0.1:{port} http://a.example/"),
    "tcp/socks5-curl": Client(CURL + "--socks5 127.0.0.1:{port} http://192.0.2.1/"),
    "tcp/socks5-curl-user": Client(CURL + "--socks5-hostname 127.0.0.1:{port} -U someone:word http://a.example/"),
    "tcp/stun-coturn": Client("turnutils_uclient -t -p {port} -u someone -w word -n 1 -c -y 127.0.0.1"),
    "tcp/svn-list": Client("svn ls --non-interactive svn://127.0.0.1:{port}/repository", greeting=SVN),
    "tcp/syslog-logger": Client("logger -n 127.0.0.1 -P {port} -T --rfc5424=nohost -t test text"),
    "tcp/syslog-logger-counted": Client("logger -n 127.0.0.1 -P {port} -T --rfc5424=nohost --octet-count -t test text"),
    "tcp/tds-freetds": Client("tsql -H 127.0.0.1 -p {port} -U someone -P word"),
    "tcp/telnet-negotiation": Client("telnet 127.0.0.1", port=23),
    "tcp/whois-query": Client("whois -h 127.0.0.1 -p {port} a.example"),
    "tcp/x11-xdpyinfo": Client("xdpyinfo -display 127.0.0.1:9", port=6009),
    "tcp/xmpp-openssl": Client(STARTTLS + "xmpp"),
    "tcp/xmpp-server-openssl": Client(STARTTLS + "xmpp-server"),
}


class BroadcastRecorder:
    """Receives datagrams to one port from the wire, as a client without an address sends them."""

    def __init__(self, port):
        self.port = port
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))

    def first(self, deadline):
        self.socket.settimeout(deadline)
        while True:
            try:
                packet = self.socket.recv(65536)
            except TimeoutError:
                raise queue.Empty from None
            header = 4 * (packet[0] & 15)
            if packet[9] == socket.IPPROTO_UDP and int.from_bytes(packet[header + 2 : header + 4]) == self.port:
                return packet[header + 8 :]

    def close(self):
        self.socket.close()


def recorder(file, client):
    if file.startswith("tcp/"):
        return StreamRecorder(client.greeting, client.port)
    return BroadcastRecorder(client.port) if client.port == 67 else DatagramRecorder(client.port)


def capture(file, client):
    """Runs one client against a new recorder; gives its first flight or datagram, or None if it said nothing."""
    listening = recorder(file, client)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments = [part.format(port=listening.port, home=home) for part in shlex.split(client.call)]
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": home, "LC_ALL": "C", "TERM": "dumb"}
        process = subprocess.Popen(arguments, env=environment, cwd=home, stdin=subprocess.PIPE, start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if client.script:
                process.stdin.write(client.script.encode())
                process.stdin.close()
            for _ in range(client.skip):
                listening.first(client.deadline)
            return listening.first(client.deadline)
        except queue.Empty:
            return None
        finally:
            end(process)
            listening.close()


def program(client):
    """What speaks: behind the preparations of a shell, the last command that is not the shell's own."""
    words = shlex.split(client.call)
    if words[0] not in ("sh", "env"):
        return words[0]
    return [word for word in re.findall(r"[\w.-]+", client.call) if word in SPEAKERS][-1]


SPEAKERS = {"curl", "memccp", "udhcpc", "kinit", "openvpn", "wireguard-go", "cgi-fcgi", "rdesktop"}


def version(name):
    """The Debian package that has the program, with its version; else what the program says itself."""
    path = os.path.realpath(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin"))
    for place in (path, path.removeprefix("/usr")):
        owner = subprocess.run(["dpkg-query", "-S", place], capture_output=True, text=True).stdout.split(":")[0]
        if owner:
            shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", owner], capture_output=True, text=True)
            return shown.stdout
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.splitlines()[0]


def shown(client):
    called = client.call.format(port="PORT", home="DIR").replace("|", "\\|").strip()
    reading = f", reading `{client.script.strip()}`" if client.script else ""
    return f"`{called}`{reading}" + (f", datagram {client.skip + 1}" if client.skip else "")


def old_rows():
    sources = HERE / "SOURCES.md"
    lines = sources.read_text().splitlines() if sources.exists() else []
    return {match[1]: line for line in lines if (match := re.match(r"\| `([^`]+\.bin)` \|", line))}


def main():
    wanted = tuple(sys.argv[1:] or [""])
    rows, failed = old_rows(), []
    for name, client in PLAN.items():
        file = f"{name}.bin"
        if not file.startswith(wanted):
            continue
        flight = capture(file, client)
        if flight is None:
            print(f"{file}: the client said nothing", flush=True)
            failed.append(file)
            continue
        print(f"{file}: {len(flight)} bytes: {flight[:40]}", flush=True)
        write(file, flight)
        rows[file] = f"| `{file}` | {version(program(client))} | {shown(client)} |"
    for name, (source, flight) in BUILT.items():
        file = f"{name}.bin"
        if file.startswith(wanted):
            write(file, flight)
            rows[file] = f"| `{file}` | built | {source} |"
    known = [f"{name}.bin" for name in sorted([*PLAN, *BUILT], key=lambda name: name)]
    table = "".join(rows[file] + "\n" for file in known if file in rows)
    (HERE / "SOURCES.md").write_text(
        "# Where the openings of others come from\n\n"
        "Written by `capture.py`: first what a real program sent, PORT and DIR standing for what was chosen; or, where\n"
        "no program was at hand, `built` by `built.py` from the specification named.\n\n"
        "| file | program | called as, or built from |\n|---|---|---|\n" + table
    )
    sys.exit(f"not captured: {', '.join(failed)}" if failed else 0)


def write(file, flight):
    (HERE / file).parent.mkdir(exist_ok=True)
    (HERE / file).write_bytes(flight)


if __name__ == "__main__":
    main()
