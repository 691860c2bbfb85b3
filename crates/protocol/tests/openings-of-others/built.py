"""Openings that no program here sends, built byte by byte; with each, the specification it is built from."""

import struct

RANDOM = bytes((7 * i * i + 31 * i + 11) % 251 for i in range(1, 1400))  # stands for keys, nonces and ciphertext


def u16(*numbers):
    return struct.pack(f">{len(numbers)}H", *numbers)


def u32(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


def le32(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


def behind16(body):
    return u16(len(body)) + body


def behind32(body):
    return u32(len(body)) + body


def name(*labels):
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def lines(*texts):
    return "".join(text + "\r\n" for text in texts).encode()


# DNS: identifier, flags, and four counts, then the question (RFC 1035, section 4.1).
def dns(flags, counts, *rest, identifier=0):
    return u16(identifier, flags, *counts) + b"".join(rest)


SERVICES = name(b"_services", b"_dns-sd", b"_udp", b"local")
# A NetBIOS name: 32 letters for 16 bytes (RFC 1001, section 14.1).
NETBIOS = name(b"".join(bytes([65 + (byte >> 4), 65 + (byte & 15)]) for byte in b"A".ljust(16)))
RAKNET = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")


# TLS record: type, version, length, fragment (RFC 8446, section 5.1).
def tls(kind, fragment, version=0x0303):
    return bytes([kind]) + u16(version) + behind16(fragment)


# SSLv2 ClientHello: length with its top bit set, 01, version, three lengths, then what they measure.
def ssl2(length, ciphers=3, session=0, challenge=16, version=0x0301):
    body = b"\x01" + u16(version, ciphers, session, challenge) + RANDOM[: ciphers + session + challenge]
    return u16(0x8000 | length) + body


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


# Minecraft: length, packet 0, protocol, host behind its length, port, next state.
def minecraft(host, protocol=765):
    body = b"\0" + varint(protocol) + varint(len(host)) + host + u16(25565) + b"\x01"
    return varint(len(body)) + body


# COTP connection request in TPKT (RFC 1006, section 6; X.224, section 13.3).
def tpkt(variable):
    request = b"\xe0\0\0\0\0\0" + variable
    return b"\x03\0" + u16(5 + len(request)) + bytes([len(request)]) + request


# ONC RPC call: xid, CALL, version 2, program, version, procedure, no credentials, no verifier (RFC 5531, section 9).
def rpc(length=0):
    return u32(0x02000000, 0, 2, 100003, 3, 0, 0, 0, 0, 0).ljust(length, b"\0")


MSEARCH = lines("M-SEARCH * HTTP/1.1", "HOST: 239.255.255.250:1900", 'MAN: "ssdp:discover"', "MX: 1", "ST: ssdp:all", "")
IKE = RANDOM[:8] + bytes(8) + bytes([33, 0x20, 34, 8]) + u32(0, 76) + bytes([0, 0]) + u16(48) + RANDOM[:44]
IKE1 = RANDOM[:8] + bytes(8) + bytes([1, 0x10, 2, 0]) + u32(0, 84) + bytes([0, 0]) + u16(56) + RANDOM[:52]

BUILT = {
    "udp/bacnet-who-is": ("ANSI/ASHRAE 135, annex J", bytes.fromhex("810b000c0120ffff00ff1008")),
    "udp/bfd-control": ("RFC 5880, section 4.1", bytes([0x20, 0x40, 3, 24]) + u32(1, 0, 1000000, 1000000, 0)),
    "udp/bittorrent-tracker": ("BEP 15", bytes.fromhex("0000041727101980") + u32(0, 0x1234)),
    "udp/bittorrent-utp": ("BEP 29", bytes([0x41, 0]) + u16(0x1234) + u32(1000000, 0, 0x100000) + u16(1, 0)),
    "udp/collectd-host": ("collectd wiki, binary protocol", u16(0, 14) + b"a.example\0" + u16(8, 12) + bytes(8)),
    "udp/dhcpv6-solicit": ("RFC 8415, section 8", b"\x01" + RANDOM[:3] + u16(1, 10, 3, 1) + RANDOM[:6] + u16(6, 4, 23, 24)),
    "udp/dns-response": ("RFC 1035, section 4.1", dns(0x8180, (1, 1, 0, 0), name(b"a", b"example"), u16(1, 1, 0xc00c, 1, 1),
                                                      u32(60), behind16(b"\xc0\0\x02\x01"), identifier=7)),
    "udp/dtls-connection-id": ("RFC 9146, section 4", bytes([25, 0xfe, 0xfd]) + u16(1, 0, 0, 1) + RANDOM[:8] + behind16(RANDOM[:48])),
    "udp/dtls13-unified": ("RFC 9147, section 4", b"\x2e\x12\x34" + behind16(RANDOM[:48])),
    "udp/esp-in-udp": ("RFC 3948, section 2.1", RANDOM[:4] + u32(1) + RANDOM[:88]),
    "udp/gelf-chunk": ("Graylog GELF", b"\x1e\x0f" + RANDOM[:8] + b"\0\x02{\"version\":\"1.1\"}"),
    "udp/gtp-echo": ("3GPP TS 29.060, section 7.2.1", bytes([0x32, 1]) + u16(4) + u32(0) + u32(0)),
    "udp/ike-v1": ("RFC 2408, section 3.1", IKE1),
    "udp/ike-v2": ("RFC 7296, section 3.1", IKE),
    "udp/ike-v2-behind-marker": ("RFC 3948, section 2.2", bytes(4) + IKE),
    "udp/ipfix-template": ("RFC 7011, section 3.1", u16(10, 28) + u32(0x60000000, 0, 1) + u16(2, 12, 256, 1, 8, 4)),
    "udp/ipmi-presence-ping": ("ASF 2.0, section 3.2.4.2", bytes.fromhex("0600ff06000011be80000000")),
    "udp/knx-search": ("KNXnet/IP, section 7.6.1", bytes.fromhex("06100201000e08017f0000010e57")),
    "udp/l2tp-sccrq": ("RFC 2661, section 3.1", u16(0xc802, 28, 0, 0, 0, 0) + u16(0x8008, 0, 0, 1, 0x8008, 0, 2, 0x0100)),
    "udp/llmnr-query": ("RFC 4795, section 2.1.1", dns(0, (1, 0, 0, 0), name(b"a"), u16(1, 1), identifier=0x1234)),
    "udp/mdns-known-answer": ("RFC 6762, section 7.1", dns(0, (1, 1, 0, 0), SERVICES, u16(12, 1, 0xc00c, 12, 1), u32(60),
                                                           behind16(b"\x02_x\xc0\x17"))),
    "udp/mdns-query": ("RFC 6762, section 5.1", dns(0, (1, 0, 0, 0), SERVICES, u16(12, 1))),
    "udp/mdns-query-two": ("RFC 6762, section 5.3", dns(0, (2, 0, 0, 0), SERVICES, u16(12, 1), name(b"a", b"local"), u16(1, 1))),
    "udp/mdns-query-unicast": ("RFC 6762, section 5.4", dns(0, (1, 0, 0, 0), SERVICES, u16(12, 0x8001))),
    "udp/mdns-response": ("RFC 6762, section 6", dns(0x8400, (0, 1, 0, 0), name(b"a", b"local"), u16(1, 0x8001), u32(120),
                                                     behind16(b"\xc0\0\x02\x01"))),
    "udp/memcached-get": ("memcached protocol.txt, UDP protocol", u16(1, 0, 1, 0) + b"get key\r\n"),
    "udp/mgcp-audit": ("RFC 3435, section 3.1", lines("AUEP 1200 *@a.example MGCP 1.0")),
    "udp/minecraft-query": ("wiki.vg, Query", bytes.fromhex("fefd0900000001")),
    "udp/mumble-ping": ("Mumble protocol, UDP ping", bytes(4) + u32(0x00010000, 0)),
    "udp/nat-pmp": ("RFC 6886, section 3.3", bytes([0, 1]) + u16(0, 8080, 8080) + u32(3600)),
    "udp/netbios-registration": ("RFC 1002, section 4.2.2", dns(0x2910, (1, 0, 0, 1), NETBIOS, u16(32, 1, 0xc00c, 32, 1),
                                                                u32(300), behind16(b"\0\0\xc0\0\x02\x01"), identifier=7)),
    "udp/netflow-v5": ("Cisco NetFlow v5", u16(5, 1) + u32(1, 0x60000000, 0, 1, 0) + RANDOM[:48]),
    "udp/netflow-v9": ("RFC 3954, section 5.1", u16(9, 1) + u32(1, 0x60000000, 0, 1) + u16(0, 12, 256, 1, 8, 4)),
    "udp/nfs-null": ("RFC 5531, section 9", rpc()),
    "udp/ntp-control": ("RFC 9327, section 2", bytes([0x16, 2]) + u16(1, 0, 0, 0, 0)),
    "udp/ntp-private-monlist": ("RFC 1305, appendix; mode 7", bytes([0x17, 0, 3, 0x2a]) + bytes(4)),
    "udp/pcp-map": ("RFC 6887, section 7.1", bytes([2, 1, 0, 0]) + u32(3600) + bytes(10) + b"\xff\xff\x7f\0\0\x01" + RANDOM[:36]),
    "udp/quic-greased-version": ("RFC 9000, section 15", b"\xca\x1a\x2a\x3a\x4a\x08" + RANDOM[:8] + b"\0\0\x44\x9e" + RANDOM[:1182]),
    "udp/quic-short": ("RFC 9000, section 17.3.1", b"\x4c" + RANDOM[:48]),
    "udp/quic-v2-initial": ("RFC 9369, section 3", b"\xdb\x6b\x33\x43\xcf\x08" + RANDOM[:8] + b"\0\0\x44\x9e" + RANDOM[:1182]),
    "udp/quic-zero-rtt": ("RFC 9000, section 17.2.3", b"\xd2\0\0\0\x01\x08" + RANDOM[:8] + b"\0\x40\x60" + RANDOM[:96]),
    "udp/raknet-open-connection": ("RakNet, OpenConnectionRequest1", b"\x05" + RAKNET + b"\x0b" + bytes(1446)),
    "udp/raknet-open-connection-2": ("RakNet, OpenConnectionRequest2", b"\x07" + RAKNET + b"\x04\x80\xff\xff\xfe\x4a\xbc" + u16(1492)
                                     + RANDOM[:8]),
    "udp/raknet-ping": ("RakNet, UnconnectedPing", b"\x01" + u32(0, 123456) + RAKNET + u32(0x12345678, 0x9abcdef0)),
    "udp/raknet-ping-open": ("RakNet, UnconnectedPingOpenConnections", b"\x02" + u32(0, 65536) + RAKNET + u32(0, 1)),
    "udp/rip-request": ("RFC 2453, section 3.6", bytes([1, 2, 0, 0]) + bytes(16) + u32(16)),
    "udp/rtcp-sender-report": ("RFC 3550, section 6.4.1", bytes([0x80, 200]) + u16(6) + u32(1, 0xe0000000, 0, 160, 1, 160)),
    "udp/rtp-silence": ("RFC 3550, section 5.1", bytes([0x80, 0]) + u16(1) + u32(160, 0x12345678) + b"\xff" * 160),
    "udp/slp-request": ("RFC 2608, section 8.1", bytes.fromhex("0201000031200000000000010002656e") + behind16(b"")
                        + behind16(b"service:x") + behind16(b"default") + behind16(b"") + behind16(b"")),
    "udp/sflow-datagram": ("sFlow version 5", u32(5, 1, 0x7f000001, 0, 1, 1000, 0)),
    "udp/ssdp-search": ("UPnP Device Architecture 2.0, section 1.3.2", MSEARCH),
    "udp/statsd-counter": ("statsd, metric types", b"requests:1|c\n"),
    "udp/stun-rfc3489-change": ("RFC 3489, section 11.2.4", u16(1, 8) + RANDOM[:16] + u16(3, 4) + u32(6)),
    "udp/stun-indication-zero": ("RFC 8489, section 5", u16(0x11, 0) + u32(0x2112a442, 0, 0, 0)),
    "udp/syslog-rfc3164": ("RFC 3164, section 5.4", b"<34>Oct 11 22:14:15 a su: text"),
    "udp/teamspeak3-init": ("TeamSpeak 3 client, low-level handshake", b"TS3INIT1" + u16(0x65, 0) + b"\x88" + u32(0x06bec4c6) + b"\0"
                            + u32(0x60000000) + RANDOM[:4] + bytes(8)),
    "udp/turn-channel-data": ("RFC 8656, section 12.4", u16(0x4000, 8) + RANDOM[:8]),
    "udp/vxlan-frame": ("RFC 7348, section 5", bytes([8, 0, 0, 0, 0, 0, 1, 0]) + b"\xff" * 6 + RANDOM[:6] + u16(0x0806, 1, 0x0800)
                        + bytes([6, 4]) + u16(1) + RANDOM[:20]),
    "udp/wireguard-cookie": ("WireGuard whitepaper, section 5.4.7", b"\x03\0\0\0" + RANDOM[:60]),
    "udp/wireguard-data": ("WireGuard whitepaper, section 5.4.6", b"\x04\0\0\0" + RANDOM[:4] + bytes(8) + RANDOM[:16]),
    "udp/wireguard-initiation": ("WireGuard whitepaper, section 5.4.2", b"\x01\0\0\0" + RANDOM[:112] + RANDOM[:16] + bytes(16)),
    "udp/wireguard-response": ("WireGuard whitepaper, section 5.4.3", b"\x02\0\0\0" + RANDOM[:72] + bytes(16)),
    "udp/xdmcp-query": ("XDMCP 1.1, section 5", u16(1, 2, 1) + b"\0"),
    "udp/zrtp-hello": ("RFC 6189, section 5.2", u16(0x1000, 1) + b"ZRTP" + u32(0x12345678) + u16(0x505a, 22) + b"Hello   1.10"
                       + RANDOM[:76]),
    "tcp/adb-connect": ("AOSP, adb/protocol.txt", b"CNXN" + le32(0x01000001, 0x100000, 7, 0x232, 0xb1a7b1bc) + b"host::\0"),
    "tcp/ajp-forward": ("AJPv13", b"\x12\x34" + behind16(b"\x02\x02" + behind16(b"HTTP/1.1") + b"\0" + behind16(b"/") + b"\0")),
    "tcp/asterisk-manager": ("Asterisk AMI", lines("Action: Login", "Username: someone", "Secret: word", "")),
    "tcp/bitcoin-version": ("Bitcoin protocol, version", bytes.fromhex("f9beb4d9") + b"version\0\0\0\0\0" + le32(86, 0x12345678)
                            + RANDOM[:86]),
    "tcp/bittorrent-handshake": ("BEP 3", b"\x13BitTorrent protocol" + bytes(8) + RANDOM[:40]),
    "tcp/bolt-handshake": ("Bolt protocol, handshake", bytes.fromhex("6060b017000005050003040400000001") + u32(3)),
    "tcp/cassandra-v4-options": ("CQL binary protocol v4, section 2", bytes([4, 0, 0, 0, 5]) + u32(0)),
    "tcp/cassandra-v5-startup": ("CQL binary protocol v5, section 2", bytes([5, 0, 0, 0, 1])
                                 + behind32(u16(1) + behind16(b"CQL_VERSION") + behind16(b"3.0.0"))),
    "tcp/clickhouse-hello": ("ClickHouse native protocol", b"\0\x11ClickHouse client\x15\x08\xb2\xa9\x03\0\x07default\0"),
    "tcp/dbus-auth": ("D-Bus specification, authentication", b"\0AUTH EXTERNAL 30\r\n"),
    "tcp/dce-rpc-bind": ("DCE 1.1 RPC, chapter 12", bytes.fromhex("05000b0310000000480000000100000000000000b810b8100000000001000000")
                         + RANDOM[:40]),
    "tcp/diameter-capabilities": ("RFC 6733, section 3", b"\x01\0\0\x1c\x80\0\x01\x01" + u32(0, 1, 1) + u32(264, 0x40000008)),
    "tcp/dicom-associate": ("DICOM PS3.8, section 9.3.2", b"\x01\0" + behind32(u16(1, 0) + b"A".ljust(16) + b"B".ljust(16) + bytes(32))),
    "tcp/distcc-version": ("distcc protocol version 1", b"DIST00000001ARGC00000002"),
    "tcp/dnp3-link": ("IEEE 1815, section 9.2", bytes.fromhex("056405c001000000")),
    "tcp/fastcgi-begin": ("FastCGI 1.0, section 5.1", bytes.fromhex("01010001000800000001000000000000")),
    "tcp/finger-query": ("RFC 1288, section 2.3", lines("/W someone")),
    "tcp/http-response": ("RFC 9112, section 4", lines("HTTP/1.1 200 OK", "Content-Length: 0", "")),
    "tcp/ident-query": ("RFC 1413, section 3", lines("6193, 23")),
    "tcp/iec104-startdt": ("IEC 60870-5-104, section 5", bytes.fromhex("680407000000")),
    "tcp/imap-login": ("RFC 9051, section 6.2.3", lines("a001 LOGIN someone word")),
    "tcp/irc-cap": ("IRCv3, capability negotiation", lines("CAP LS 302", "NICK someone", "USER someone 0 * :name")),
    "tcp/irc-pass": ("RFC 2812, section 3.1.1", lines("PASS word", "NICK someone", "USER someone 0 * :name")),
    "tcp/irc-user-first": ("RFC 2812, section 3.1.3", lines("USER someone 0 * :first last", "NICK someone")),
    "tcp/iscsi-login": ("RFC 7143, section 11.12", bytes([0x43, 0x87, 0, 0, 0, 0, 0, 48]) + RANDOM[:40] + b"InitiatorName=iqn.x".ljust(48, b"\0")),
    "tcp/jetdirect-pjl": ("HP PJL", b"\x1b%-12345X@PJL\r\n"),
    "tcp/lpd-queue": ("RFC 1179, section 5.2", b"\x02queue\n"),
    "tcp/minecraft-legacy-ping": ("wiki.vg, Server List Ping", bytes.fromhex("fe01fa")),
    "tcp/minecraft-status": ("wiki.vg, Protocol, handshake", minecraft(b"a.example")),
    "tcp/minecraft-length-22": ("wiki.vg, Protocol, handshake", minecraft(b"abcd.de.example")),
    "tcp/minecraft-length-22-tls-version": ("wiki.vg, Protocol, handshake", b"\x16\0\x03\x10" + b"abcdef.a.example" + u16(25565)),
    "tcp/msrp-send": ("RFC 4975, section 7.1", lines("MSRP a786hjs2 SEND", "To-Path: msrp://b.example:2855/x;tcp")),
    "tcp/nats-connect": ("NATS protocol, CONNECT", b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n'),
    "tcp/nbd-flags": ("NBD protocol, newstyle negotiation", u32(3) + b"IHAVEOPT" + u32(7, 0)),
    "tcp/opc-ua-hello": ("OPC 10000-6, section 7.1.2.3", b"HELF" + le32(32, 0, 65535, 65535, 0, 0, 0)),
    "tcp/oracle-tns-connect": ("Oracle Net, TNS CONNECT", u16(58, 0) + b"\x01\0" + u16(0, 0x0138, 0x012c, 0, 0x0800, 0x7fff) + RANDOM[:40]),
    "tcp/pop3-apop": ("RFC 1939, section 7", lines("APOP someone c4c9334bac560ecc979e58001b3e22fb")),
    "tcp/pop3-auth": ("RFC 1734, section 2", lines("AUTH PLAIN")),
    "tcp/postgresql-cancel": ("PostgreSQL, CancelRequest", u32(16, 80877102, 1, 2)),
    "tcp/proxy-v1-unknown": ("PROXY protocol 2.9, section 2.1", lines("PROXY UNKNOWN")),
    "tcp/proxy-v2": ("PROXY protocol 2.9, section 2.2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + behind16(b"\xc0\0\x02\x01" * 2 + u16(50000, 443))),
    "tcp/proxy-v2-local": ("PROXY protocol 2.9, section 2.2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    "tcp/rdp-cookie-negotiation": ("MS-RDPBCGR, section 2.2.1.1", tpkt(b"Cookie: mstshash=someone\r\n\x01\0\x08\0\x03\0\0\0")),
    "tcp/rdp-negotiation": ("MS-RDPBCGR, section 2.2.1.1", tpkt(b"\x01\0\x08\0\x0b\0\0\0")),
    "tcp/redis-inline-auth": ("Redis protocol, inline commands", lines("AUTH word")),
    "tcp/redis-inline-get": ("Redis protocol, inline commands", lines("GET key")),
    "tcp/redis-inline-ping": ("Redis protocol, inline commands", lines("PING")),
    "tcp/rlogin-start": ("RFC 1282, section 2", b"\0someone\0someone\0xterm/38400\0"),
    "tcp/rpc-over-http": ("MS-RPCH, section 2.1.2.1.1", lines("RPC_IN_DATA /rpc/rpcproxy.dll?a.example:593 HTTP/1.1", "Host: a.example", "")),
    "tcp/s7comm-connect": ("RFC 1006, section 6", tpkt(bytes.fromhex("c0010ac1020100c2020102"))),
    "tcp/sip-keep-alive": ("RFC 5626, section 3.5.1", b"\r\n\r\n"),
    "tcp/sip-response": ("RFC 3261, section 7.2", lines("SIP/2.0 200 OK", "")),
    "tcp/smpp-bind": ("SMPP 3.4, section 4.1.1", behind32(u32(9, 0, 1) + b"someone\0word\0\0\x34\0\0\0")),
    "tcp/smtp-pipelined": ("RFC 2920, section 3.1", lines("HELO a.example", "MAIL FROM:<a@a.example>", "RCPT TO:<b@a.example>", "DATA")),
    "tcp/spdy3-syn": ("SPDY 3.1, section 2.6.1", bytes.fromhex("80030001010000120000000100000000") + RANDOM[:8]),
    "tcp/ssdp-search": ("UPnP Device Architecture 2.0, section 1.3.2", MSEARCH),
    "tcp/ssl2-challenge-too-long": ("RFC 5246, appendix E.2", ssl2(9 + 3 + 33, challenge=33)),
    "tcp/ssl2-challenge-too-short": ("RFC 5246, appendix E.2", ssl2(9 + 3 + 15, challenge=15)),
    "tcp/ssl2-ciphers-uneven": ("RFC 5246, appendix E.2", ssl2(9 + 4 + 16, ciphers=4)),
    "tcp/ssl2-length-wrong": ("RFC 5246, appendix E.2", ssl2(9 + 3 + 17)),
    "tcp/ssl2-padded": ("SSL 0.2, three-byte record header", b"\x00\x1e\x02" + ssl2(28)[2:] + bytes(2)),
    "tcp/ssl2-server-hello": ("SSL 0.2, SERVER-HELLO", b"\x80\x1e\x04\0\x01\0\x02\0\0\0\x03\0\x10\x01\0\x80" + RANDOM[:16]),
    "tcp/ssl2-version-1": ("SSL 0.2, CLIENT-HELLO", ssl2(28, version=0x0001)),
    "tcp/sstp-connect": ("MS-SSTP, section 3.2.4.1", lines("SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1",
                                                           "Host: a.example", "")),
    "tcp/stomp-connect": ("STOMP 1.2, CONNECT", b"CONNECT\naccept-version:1.2\nhost:a.example\n\n\0"),
    "tcp/stomp-stomp": ("STOMP 1.2, CONNECT", b"STOMP\r\naccept-version:1.2\r\nhost:a.example\r\n\r\n\0"),
    "tcp/sunrpc-null": ("RFC 5531, section 11", u32(0x80000000 | len(rpc())) + rpc()),
    "tcp/sunrpc-fragment-256": ("RFC 5531, section 11", u32(0x80000000 | 256) + rpc(256)),
    "tcp/sunrpc-fragment-768": ("RFC 5531, section 11", u32(0x80000000 | 768 + 1) + rpc(769)),
    "tcp/thrift-call": ("Apache Thrift, binary protocol", bytes.fromhex("80010001") + behind32(b"ping") + u32(1) + b"\0"),
    "tcp/tls-alert": ("RFC 8446, section 6", tls(21, b"\x02\x28")),
    "tcp/tls-application-data": ("RFC 8446, section 5.2", tls(23, RANDOM[:64])),
    "tcp/tls-change-cipher-spec": ("RFC 8446, section 5", tls(20, b"\x01")),
    "tcp/tls-client-key-exchange": ("RFC 5246, section 7.4.7", tls(22, b"\x10\0\0\x21\x20" + RANDOM[:32])),
    "tcp/tls-empty-handshake": ("RFC 8446, section 5.1", tls(22, b"") + tls(22, b"\x01")),
    "tcp/tls-heartbeat": ("RFC 6520, section 4", tls(24, b"\x01" + behind16(RANDOM[:16]) + RANDOM[:16])),
    "tcp/tls-hello-request": ("RFC 5246, section 7.4.1.1", tls(22, b"\0\0\0\0")),
    "tcp/tls-record-too-long": ("RFC 8446, section 5.1", tls(22, b"\x01" + RANDOM[:600])[:3] + u16(0x4001) + b"\x01" + RANDOM[:600]),
    "tcp/tls-server-hello": ("RFC 8446, section 4.1.3", tls(22, b"\x02\0\0\x26\x03\x03" + RANDOM[:32] + b"\0\x13\x01\0")),
    "tcp/tls-version-2": ("RFC 8446, section 5.1", tls(22, b"\x01\0\0\x40" + RANDOM[:64], version=0x0200)),
    "tcp/tls-version-3-5": ("RFC 8446, section 5.1", tls(22, b"\x01\0\0\x40" + RANDOM[:64], version=0x0305)),
    "tcp/tlcp-version-1-1": ("GB/T 38636-2020, section 6.3.2", tls(22, b"\x01\0\0\x40" + RANDOM[:64], version=0x0101)),
    "tcp/vnc-version": ("RFC 6143, section 7.1.1", b"RFB 003.008\n"),
    "tcp/xmpp-stream": ("RFC 6120, section 4.2", b"<?xml version='1.0'?><stream:stream to='a.example' xmlns='jabber:client'>"),
    "tcp/zookeeper-connect": ("ZooKeeper, ConnectRequest", behind32(u32(0, 0, 0, 30000, 0, 0) + behind32(bytes(16)) + b"\0")),
    "tcp/zookeeper-four-letters": ("ZooKeeper, four-letter words", b"ruok"),
}
