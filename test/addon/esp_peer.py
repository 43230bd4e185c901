"""An independent ESP end (scapy) with a UDP socket and a raw socket, driven by lines of JSON.

{"call": name, ...} in, {"value": ...} or {"error": ...} out. Bytes are hexadecimal.
"""
import hashlib
import json
import socket
import struct
import sys

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
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


def device(interface):
    """Both ends of a device without link header, as its kernel sees them: `put` goes out, `taken` came in."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((interface, 3))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
    sockets[interface] = s


def put(interface, packets, times=1, segment=0):
    """`segment`: the packets are TCP superpackets that are to be cut, and lack their checksum."""
    for packet in packets * times:
        data = bytes.fromhex(packet)
        v6 = data[0] >> 4 == 6
        ip = 40 if v6 else 20
        offload = struct.pack("=BBHHHH", 1, 4 if v6 else 1, ip + 20, segment, ip, 16) if segment else bytes(10)
        sockets[interface].sendto(offload + data, (interface, 0x86dd if v6 else 0x0800))


def taken(interface, timeout=0.0):
    """What has come in so far; waits for the first one at most `timeout` seconds."""
    s, got = sockets[interface], []
    while True:
        s.settimeout(timeout if got == [] else 0)
        try:
            data, address = s.recvfrom(65535)
        except (socket.timeout, BlockingIOError):
            return got
        if address[2] != socket.PACKET_OUTGOING:
            got.append(data[10:].hex())


def watch(interface):
    """What comes in by a device, from now on, with its outer header."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    s.bind((interface, 3))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sockets[f"watch {interface}"] = s


def outer(interface, count, timeout=5.0):
    """The next `count` packets that carry UDP, ESP or a fragment of either, as their IP headers describe them."""
    s, got = sockets[f"watch {interface}"], []
    s.settimeout(timeout)
    while len(got) < count:
        try:
            data, address = s.recvfrom(65535)
        except socket.timeout:
            return got
        if address[2] == socket.PACKET_OUTGOING:
            continue
        if data[0] >> 4 == 4 and data[9] in (17, 50):
            flags = struct.unpack(">H", data[6:8])[0]
            got.append({"df": bool(flags & 0x4000), "more": bool(flags & 0x2000), "offset": (flags & 0x1fff) * 8,
                        "length": struct.unpack(">H", data[2:4])[0], "trafficClass": data[1]})
        elif data[0] >> 4 == 6 and data[6] in (17, 44, 50):
            place = struct.unpack(">H", data[42:44])[0] if data[6] == 44 else 0
            got.append({"df": None, "more": bool(place & 1), "offset": place & 0xfff8,
                        "length": 40 + struct.unpack(">H", data[4:6])[0],
                        "trafficClass": struct.unpack(">H", data[0:2])[0] >> 4 & 255})
    return got


def filler(source, destination, length, kind="udp", df=True, tos=0):
    """An IP packet of `length` bytes of some kind, with checksums where scapy makes them."""
    v6 = ":" in source
    room = length - (40 if v6 else 20)
    upper = {
        "udp": lambda: UDP(sport=9000, dport=5000, len=room) / Raw(bytes(room - 8)),
        "tcp": lambda: TCP(sport=9000, dport=5000, flags="A") / Raw(bytes(i & 255 for i in range(room - 20))),
        "later fragment": lambda: Raw(struct.pack(">BBHI", 17, 0, 800, 7) + bytes(room - 8)) if v6 else Raw(bytes(room)),
    }
    number = None
    if kind in upper:
        body = upper[kind]()
    else:  # "icmp 3": of this type
        number = int(kind.split()[1])
        body = Raw(bytes([number, 0]) + bytes(room - 2))
    if v6:
        next_header = {"udp": 17, "tcp": 6, "later fragment": 44}.get(kind, 58)
        return bytes(IPv6(src=source, dst=destination, nh=next_header, tc=tos) / body).hex()
    place = {"frag": 100, "proto": 17} if kind == "later fragment" else {}
    protocol = {} if number is None else {"proto": 1}
    header = IP(src=source, dst=destination, flags="DF" if df else 0, id=77, tos=tos, **place, **protocol)
    return bytes(header / body).hex()


def read_error(packet):
    """An ICMP error: MTU, quoted bytes and whether its checksum is right."""
    v6 = packet.startswith("6")
    data = bytes.fromhex(packet)
    ip = (IPv6 if v6 else IP)(data)
    rebuilt = (IPv6 if v6 else IP)(data)
    for layer, field in ((IP, "chksum"), (ICMP, "chksum"), (ICMPv6PacketTooBig, "cksum")):
        if layer in rebuilt:
            delattr(rebuilt[layer], field)
    icmp = data[40 if v6 else 20:]
    return {
        "source": ip.src, "destination": ip.dst, "type": icmp[0], "code": icmp[1],
        "mtu": struct.unpack(">I", icmp[4:8])[0], "quoted": icmp[8:].hex(), "checksumsRight": bytes(rebuilt) == data,
    }


calls = {
    "listen": listen, "associate": associate, "seal": seal, "open": open_, "echo": echo, "udp": udp,
    "describe": describe, "send": send, "sendTrain": send_train, "receive": receive, "sequenceOf": sequence_of,
    "fragments": fragments, "inject": inject, "digest": digest,
    "device": device, "put": put, "taken": taken, "filler": filler, "readError": read_error,
    "watch": watch, "outer": outer,
}
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"value": calls[request.pop("call")](**request)}
    except Exception as error:  # the test wants to see it, whatever it is
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
