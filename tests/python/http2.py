"""Just enough HTTP/2 to send what is no gRPC."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
ACK = END_STREAM = 1
END_HEADERS = 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


# What is not HTTP/2 at all, or not for long. Servers close such connections.
GARBAGE = {
    "zeros": bytes(100_000),
    "every byte": bytes(range(256)) * 400,
    "a TLS hello": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "frames that are none": PREFACE + b"\xff" * 100_000,
    "data on a stream that is not open": PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, 0, 1, b"x"),
    "headers that are none": PREFACE
    + frame(SETTINGS, 0, 0)
    + frame(HEADERS, END_HEADERS, 1, b"\xff" * 50),
    "a frame that is too large": PREFACE + b"\xff\xff\xff" + bytes(100),
}


def broken_messages(body):
    """Beginnings of gRPC messages: a flag, four bytes of length, the message."""

    def message(flag, length, rest):
        return struct.pack(">BI", flag, length) + rest

    return {
        "nothing": b"",
        "half a prefix": b"\x00\x00\x00",
        "a prefix alone": message(0, len(body), b""),
        "half a message": message(0, len(body), body[: len(body) // 2]),
        "the largest length": message(0, 0xFFFFFFFF, body),
        "compressed, by nothing known": message(1, len(body), body),
        "a flag that is none": message(7, len(body), body),
    }


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def reset(connection):
    """Closes it without the usual farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send_and_abort(address, data):
    connection = connect(address)
    try:
        connection.sendall(data)
    except ConnectionError:
        pass  # The server may have had enough before all is sent.
    reset(connection)


def is_closed_after(address, data):
    """Whether the server closes a connection on which it received this."""
    with connect(address) as connection:
        try:
            connection.sendall(data)
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
    return True


class Connection:
    def __init__(self, address):
        self.socket = connect(address)
        self.received = self.socket.makefile("rb")
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def request(self, path, data, end):
        """The head of a call, and `data` as its first bytes, which `end` says are the last."""
        head = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
            "x-scope-orgid": "t",
        }
        # Literals without an index, not compressed.
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in head.items()
        )
        flags = END_STREAM if end else 0
        self.socket.sendall(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, flags, 1, data))

    def frames(self):
        """Kind, flags and stream of each frame, until the server closes the connection."""
        while len(head := self.received.read(9)) == 9:
            length = int.from_bytes(head[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            self.received.read(length)
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0))
            yield kind, flags, stream

    def response_ends(self):
        """Whether headers (of gRPC, the trailers) end the answer."""
        ends = (
            kind == HEADERS and stream == 1 and flags & END_STREAM
            for kind, flags, stream in self.frames()
        )
        return any(ends)

    def answers_ping(self):
        self.socket.sendall(frame(PING, 0, 0, bytes(8)))
        return any(kind == PING and flags & ACK for kind, flags, _ in self.frames())

    def close(self):
        self.received.close()
        self.socket.close()

    def abort(self):
        self.received.close()
        reset(self.socket)
