"""An independent ESP end (scapy) with a UDP socket and a raw socket, driven by lines of JSON.

{"call": name, ...} in, {"value": ...} or {"error": ...} out. Bytes are hexadecimal.
"""
import hashlib
import json
import socket
import struct
import sys

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw

sockets = {}
associations = {}


def listen(local, port, raw=False):
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    kind, protocol = (socket.SOCK_RAW, 50) if raw else (socket.SOCK_DGRAM, 0)
    s = socket.socket(family, kind, protocol)
    if raw:
        s.bind((local, 0))
    else:
        s.bind((local, port))
    sockets[f"{'esp' if raw else 'udp'}{port}"] = s


def associate(name, spi, key, remote, local, esn=False, high=0, sequence=1):
    """`remote` and `local` are the tunnel's outer ends as the sender of the packets sees them: from local to remote."""
    header = IPv6(src=local, dst=remote) if ":" in local else IP(src=local, dst=remote)
    associations[name] = SecurityAssociation(
        ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=bytes.fromhex(key), tunnel_header=header,
        esn_en=esn, esn=high, seq_num=sequence,
    )


def seal(name, inner, sequence=None):
    packet = (IPv6 if inner.startswith("6") else IP)(bytes.fromhex(inner))
    sealed = associations[name].encrypt(packet, seq_num=sequence)
    return bytes(sealed[ESP]).hex()


def open_(name, esp):
    association = associations[name]
    outer = association.tunnel_header.__class__(bytes(association.tunnel_header / ESP(bytes.fromhex(esp))))
    return bytes(association.decrypt(outer)).hex()


def echo(source, destination, id, sequence, size=56):
    payload = Raw(bytes(i & 255 for i in range(size)))
    if ":" in source:
        return bytes(IPv6(src=source, dst=destination) / ICMPv6EchoRequest(id=id, seq=sequence, data=payload.load)).hex()
    return bytes(IP(src=source, dst=destination) / ICMP(id=id, seq=sequence) / payload).hex()


def udp(source, destination, source_port, destination_port, data, tos=0):
    return bytes(IP(src=source, dst=destination, tos=tos) / UDP(sport=source_port, dport=destination_port) / Raw(bytes.fromhex(data))).hex()


def fragments(source, destination, source_port, destination_port, size, step, id, options=False):
    """A UDP datagram in fragments of `step` bytes; `options`: behind an IPv6 destination options header."""
    payload = bytes((i * 7 + id) & 255 for i in range(size))
    header = IPv6(src=source, dst=destination) if ":" in source else IP(src=source, dst=destination)
    whole = bytes(header / UDP(sport=source_port, dport=destination_port) / Raw(payload))
    part, protocol = whole[len(header):], 17
    if options:
        part, protocol = bytes([17, 0, 1, 4, 0, 0, 0, 0]) + part, 60
    packets = []
    for at in range(0, len(part), step):
        piece, more = part[at:at + step], at + step < len(part)
        if ":" in source:
            place = struct.pack(">BBHI", protocol, 0, at | more, id)
            packets.append(bytes(IPv6(src=source, dst=destination, nh=44) / Raw(place + piece)))
        else:
            place = {"id": id, "frag": at // 8, "flags": "MF" if more else 0, "proto": protocol}
            packets.append(bytes(IP(src=source, dst=destination, **place) / Raw(piece)))
    return {"packets": [p.hex() for p in packets], "digest": hashlib.sha256(payload).hexdigest()}


def inject(packets):
    """Whole IP packets, as a host would send them."""
    for packet in packets:
        v6 = packet.startswith("6")
        s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        data = bytes.fromhex(packet)
        to = socket.inet_ntop(s.family, data[24:40] if v6 else data[16:20])
        s.sendto(data, (to, 0))
        s.close()


def digest(socket_name, timeout=2.0):
    """Of the next datagram; None when there is none."""
    got = receive(socket_name, timeout)
    return None if got is None else hashlib.sha256(bytes.fromhex(got["data"])).hexdigest()


def describe(inner):
    packet = (IPv6 if inner.startswith("6") else IP)(bytes.fromhex(inner))
    layers = {"source": packet.src, "destination": packet.dst}
    if ICMP in packet:
        layers.update(type=packet[ICMP].type, id=packet[ICMP].id, sequence=packet[ICMP].seq)
    for reply in (ICMPv6EchoReply, ICMPv6EchoRequest):
        if reply in packet:
            layers.update(type=packet[reply].type, id=packet[reply].id, sequence=packet[reply].seq)
    rebuilt = packet.copy()
    for layer in (IP, ICMP, UDP, ICMPv6EchoReply, ICMPv6EchoRequest):
        if layer in rebuilt:
            for field in ("chksum", "cksum"):
                if field in rebuilt[layer].fields:
                    del rebuilt[layer].fields[field]
    layers["checksumsRight"] = bytes(rebuilt).hex() == inner
    return layers


def send(socket_name, to, port, data, tos=None):
    s = sockets[socket_name]
    if tos is not None:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    s.sendto(bytes.fromhex(data), (to, port))


def send_train(socket_name, to, port, datagrams):
    """All of one size: one UDP_SEGMENT send, which the receiver's UDP_GRO takes as one train."""
    s = sockets[socket_name]
    sizes = {len(d) // 2 for d in datagrams}
    assert len(sizes) == 1, sizes
    s.setsockopt(17, 103, sizes.pop())
    s.sendto(bytes.fromhex("".join(datagrams)), (to, port))
    s.setsockopt(17, 103, 0)


def receive(socket_name, timeout=2.0):
    s = sockets[socket_name]
    s.settimeout(timeout)
    try:
        data, sender = s.recvfrom(65535)
    except socket.timeout:
        return None
    if socket_name.startswith("esp") and s.family == socket.AF_INET:
        data = data[(data[0] & 15) * 4:]
    return {"data": data.hex(), "from": sender[0], "port": sender[1]}


def sequence_of(esp):
    return struct.unpack(">I", bytes.fromhex(esp)[4:8])[0]


calls = {
    "listen": listen, "associate": associate, "seal": seal, "open": open_, "echo": echo, "udp": udp,
    "describe": describe, "send": send, "sendTrain": send_train, "receive": receive, "sequenceOf": sequence_of,
    "fragments": fragments, "inject": inject, "digest": digest,
}
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"value": calls[request.pop("call")](**request)}
    except Exception as error:  # the test wants to see it, whatever it is
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
