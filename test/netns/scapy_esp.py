"""An ESP gateway made of scapy, packet by packet: opens what arrives, checks it, and answers pings with its own ESP.

usage: scapy_esp.py JSON. Commands on standard input, one a line: `attack NAME` sends what NAME says, five times;
`report` prints what was seen. Every answer is one line of JSON.
"""
import json
import select
import socket
import sys

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw

conf.verb = 0
options = json.loads(sys.argv[1])
local, remote, in_udp = options["local"], options["remote"], options["encapsulation"] == "udp"


def association(spi, key, source, destination):
    return SecurityAssociation(
        ESP,
        spi=spi,
        crypt_algo="AES-GCM",
        crypt_key=bytes.fromhex(key),
        tunnel_header=IP(src=source, dst=destination),
        esn_en=options["esn"],
    )


inbound = association(options["inboundSpi"], options["inboundKey"], remote, local)
outbound = association(options["outboundSpi"], options["outboundKey"], local, remote)
if in_udp:
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((local, 4500))
else:
    wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ESP)
    wire.bind((local, 0))
wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
seen = {"opened": 0, "refused": [], "answered": 0, "sequences": []}


def say(value):
    print(json.dumps(value), flush=True)


def send(esp):
    wire.sendto(bytes(esp), (remote, 4500 if in_udp else 0))


def seal(inner, **kinds):
    """The ESP packet alone, without the tunnel header, which the kernel writes."""
    return outbound.encrypt(inner, **kinds)[ESP]


def receive():
    data = wire.recvfrom(65535)[0]
    esp = ESP(data if in_udp else data[(data[0] & 15) * 4:])
    try:
        inner = inbound.decrypt(IP(src=remote, dst=local) / esp)
    except Exception as error:  # whatever scapy finds wrong is a finding
        seen["refused"].append(f"{type(error).__name__}: {error}")
        return
    seen["opened"] += 1
    seen["sequences"].append(esp.seq)
    answer(inner)


def answer(inner):
    if IP in inner and ICMP in inner and inner[ICMP].type == 8:
        echo = inner[ICMP].copy()
        echo.type = 0
        del echo.chksum
        send(seal(IP(src=inner[IP].dst, dst=inner[IP].src) / echo))
        seen["answered"] += 1
    elif IPv6 in inner and ICMPv6EchoRequest in inner:
        ping = inner[ICMPv6EchoRequest]
        reply = ICMPv6EchoReply(id=ping.id, seq=ping.seq, data=ping.data)
        send(seal(IPv6(src=inner[IPv6].dst, dst=inner[IPv6].src) / reply))
        seen["answered"] += 1


def good(source=None):
    packet = IP(src=source or options["remoteHost"], dst=options["peerHost"])
    return packet / UDP(sport=1, dport=9) / Raw(b"x" * 100)


def flipped(at):
    data = bytearray(bytes(seal(good())))
    data[at] ^= 1
    return bytes(data)


def replayed():
    data = bytes(seal(good()))
    send(data)
    for _ in range(5):
        yield data


def unpadded_next_header(number):
    """A well-sealed packet whose next header field says `number`."""
    pad = outbound.crypt_algo.pad

    def padded(esp):
        esp.nh = number
        return pad(esp)

    outbound.crypt_algo.pad = padded
    try:
        return bytes(seal(good()))
    finally:
        outbound.crypt_algo.pad = pad


def zero_sequence():
    data = bytearray(bytes(seal(good())))
    data[4:8] = bytes(4)
    return bytes(data)


attacks = {
    "an ICV with one bit flipped": lambda: (flipped(-1) for _ in range(5)),
    "ciphertext with one bit flipped": lambda: (flipped(30) for _ in range(5)),
    "a sequence number with one bit flipped": lambda: (flipped(7) for _ in range(5)),
    "a replay": replayed,
    "sequence number zero": lambda: (zero_sequence() for _ in range(5)),
    "an unknown SPI": lambda: (b"\xde\xad\xbe\xef" + bytes(seal(good()))[4:] for _ in range(5)),
    "a header and no more": lambda: (bytes(seal(good()))[:8] for _ in range(5)),
    "an ICV cut short": lambda: (bytes(seal(good()))[:-3] for _ in range(5)),
    "a dummy packet (next header 59)": lambda: (unpadded_next_header(59) for _ in range(5)),
    "transport mode's next header": lambda: (unpadded_next_header(6) for _ in range(5)),
    "an inner source outside the selectors": lambda: (bytes(seal(good("172.16.0.1"))) for _ in range(5)),
    "a good packet": lambda: (bytes(seal(good())) for _ in range(5)),
}


say("ready")
while True:
    for ready in select.select([wire, sys.stdin], [], [])[0]:
        if ready is wire:
            receive()
            continue
        command = sys.stdin.readline()
        if command == "":
            sys.exit(0)
        verb, _, name = command.strip().partition(" ")
        if verb == "attack":
            for datagram in attacks[name]():
                send(datagram)
            say({"sent": name})
        else:
            say(seen)
