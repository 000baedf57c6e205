"""A client of the distributor's gRPC server, generated from proto/ by Python's own tools.

    grpc_client.py --address HOST:PORT [--ca FILE [--cert FILE --key FILE]]
                   [--compression gzip|deflate] SCENARIO [ARGUMENT...]

Runs one of the scenarios at the end of this file: exits with 0 when all was as it should be, else
says what was not and exits with 1.
"""

import argparse
import faulthandler
import json
import os
import pathlib
import queue
import sys
import tempfile
import time
import traceback

import grpc
import grpc_tools.protoc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

import http2

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"
# Seconds that a call may take which should take milliseconds.
LIMIT = 30
PUSH = "/distributor.Distributor/Push"
SERVICES = ["distributor.Distributor", "ha_tracker.v1.HaTracker"]
Code = grpc.StatusCode


class Unexpected(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Unexpected(message)


def expect_equal(actual, expected, what):
    expect(actual == expected, f"{what}: {actual!r}, expected {expected!r}")


def expect_error(code, call):
    """The error that the call ends with, whose code must be this."""
    try:
        answer = call()
    except grpc.RpcError as error:
        expect(error.code() == code, f"{error.code()} ({error.details()}), expected {code}")
        return error
    raise Unexpected(f"success ({answer!r}), expected {code}")


def eventually(what, check):
    """What `check` returns, once it is not None."""
    deadline = time.monotonic() + LIMIT
    while (result := check()) is None:
        expect(time.monotonic() < deadline, f"waited in vain for {what}")
        time.sleep(0.02)
    return result


def connect(options):
    settings = [("grpc.enable_http_proxy", 0)]
    compression = {
        None: None,
        "gzip": grpc.Compression.Gzip,
        "deflate": grpc.Compression.Deflate,
    }[options.compression]
    if options.ca is None:
        return grpc.insecure_channel(options.address, settings, compression)
    files = [options.ca, options.key, options.cert]
    pems = [None if file is None else pathlib.Path(file).read_bytes() for file in files]
    return grpc.secure_channel(options.address, grpc.ssl_channel_credentials(*pems), settings)


class Client:
    """A channel and its stubs."""

    def __init__(self, options):
        self.address = options.address
        self.states = []
        with tempfile.TemporaryDirectory() as folder:
            arguments = [f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
            files = ["cortexpb.proto", "distributor.proto", "ha_tracker.proto"]
            status = grpc_tools.protoc.main(["protoc", *arguments, *files])
            expect_equal(status, 0, "protoc")
            sys.path.insert(0, folder)
            import cortexpb_pb2
            import distributor_pb2_grpc
            import ha_tracker_pb2
            import ha_tracker_pb2_grpc
        self.messages = cortexpb_pb2
        self.tracker_messages = ha_tracker_pb2
        self.channel = connect(options)
        self.channel.subscribe(self.states.append)
        self.push_stub = distributor_pb2_grpc.DistributorStub(self.channel)
        self.tracker = ha_tracker_pb2_grpc.HaTrackerStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def push(self, request, tenant="t", timeout=LIMIT):
        metadata = [] if tenant is None else [("x-scope-orgid", tenant)]
        return self.push_stub.Push(request, metadata=metadata, timeout=timeout)

    def call_raw(self, path, message, tenant="t"):
        """Any bytes to any unary method."""
        metadata = [("x-scope-orgid", tenant)]
        return self.channel.unary_unary(path)(message, metadata=metadata, timeout=LIMIT)

    def series(self, replica, name="m", cluster="c", padding=""):
        """A request with a sample of an HA pair."""
        labels = {"__name__": name, "__replica__": replica, "cluster": cluster, "padding": padding}
        pairs = [
            self.messages.LabelPair(name=name.encode(), value=value.encode())
            for name, value in labels.items()
            if value
        ]
        sample = self.messages.Sample(value=1.5, timestamp_ms=round(time.time() * 1000))
        series = self.messages.TimeSeries(labels=pairs, samples=[sample])
        return self.messages.WriteRequest(timeseries=[series])

    def check(self, tenant, cluster, replica):
        request = self.tracker_messages.CheckRequest(
            tenant=tenant, cluster=cluster, replica=replica
        )
        return self.tracker.Check(request, timeout=LIMIT)

    def list(self, **fields):
        request = self.tracker_messages.ListElectedRequest(**fields)
        return self.tracker.ListElected(request, timeout=LIMIT)

    def watch(self, tenant="", timeout=LIMIT):
        request = self.tracker_messages.WatchElectionsRequest(tenant=tenant)
        return self.tracker.WatchElections(request, timeout=timeout)

    def serving(self, service=""):
        request = health_pb2.HealthCheckRequest(service=service)
        status = self.health.Check(request, timeout=LIMIT).status
        expect_equal(status, health_pb2.HealthCheckResponse.SERVING, f"health of {service!r}")

    def still_connected(self):
        """Fails if there was ever another connection than the first."""
        ready = grpc.ChannelConnectivity.READY
        eventually("the channel to be ready", lambda: ready if ready in self.states else None)
        after = self.states[self.states.index(ready) :]
        expect_equal(after, [ready], "states of the channel")


def names(elections):
    return [(election.tenant, election.cluster) for election in elections]


def state_of(stream):
    """The elections of the state that the stream is to begin with, all in one part."""
    state = next(stream).state
    expect(state.is_first and state.is_last, f"not the whole state: {state}")
    return state.elections


def push(client, texts):
    """What becomes of pushes. `texts`: what HTTP says in the same cases, as JSON."""
    texts = json.loads(texts)
    messages = client.messages
    request = client.series("a")
    series = request.timeseries[0]
    series.histograms.add(
        count_int=3,
        sum=4.5,
        schema=-4,
        zero_threshold=1e-9,
        zero_count_int=1,
        positive_spans=[messages.BucketSpan(offset=-3, length=2)],
        positive_deltas=[1, -1],
        timestamp=series.samples[0].timestamp_ms,
    )
    trace = messages.LabelPair(name=b"trace_id", value=b"abc")
    series.exemplars.add(labels=[trace], value=7, timestamp_ms=3)
    request.metadata.add(
        type=messages.MetricMetadata.COUNTER, metric_family_name="m", help="Help.", unit="s"
    )
    request.source = messages.WriteRequest.RULE
    request.skip_label_name_validation = True
    expect_equal(client.push(request), messages.WriteResponse(), "answer")
    expect_equal(client.push(messages.WriteRequest()), messages.WriteResponse(), "answer")

    for case, code, call in [
        ("deduplicated", Code.ALREADY_EXISTS, lambda: client.push(client.series("b"))),
        ("no tenant", Code.UNAUTHENTICATED, lambda: client.push(request, tenant=None)),
        ("no protobuf", Code.INVALID_ARGUMENT, lambda: client.call_raw(PUSH, b"\x0a\xff")),
    ]:
        error = expect_error(code, call)
        expect_equal(error.details(), texts[case], case)
    client.still_connected()


def compressed(client):
    """A message that does not shrink is sent as it is: some do."""
    cluster = "x" * 200
    client.push(client.series("a", padding="x" * 200_000))
    for replica, outcome in [("a", "accepted"), ("b", "deduplicated")]:
        answer = client.check("t", cluster, replica)
        expect_equal(answer.WhichOneof("outcome"), outcome, replica)
    eventually("both to be listed", lambda: len(client.list().elections) == 2 or None)
    error = expect_error(Code.INVALID_ARGUMENT, lambda: client.list(tenant="x" * 200 + "/"))
    expect("contains a '/'" in error.details(), error.details())
    expect_error(Code.NOT_FOUND, lambda: client.serving("x" * 200))
    client.serving()
    reflection(client)
    client.still_connected()


def compressed_otherwise(client):
    error = expect_error(
        Code.UNIMPLEMENTED, lambda: client.push(client.series("a", padding="x" * 1000))
    )
    expect("gzip" in error.details(), error.details())
    expect_error(Code.UNIMPLEMENTED, lambda: client.check("t", "x" * 200, "a"))


def push_bomb(client):
    """Some 100 KB that would be 100 MB, were they read to the end."""
    bomb = client.series("a", padding="x" * 100_000_000)
    error = expect_error(Code.OUT_OF_RANGE, lambda: client.push(bomb))
    expect("max_recv_msg_size" in error.details(), error.details())
    client.push(client.series("a", padding="x" * 1000))
    client.still_connected()


def push_oversize(client):
    """More bytes in all than a connection's window: those that are not read must not fill it."""
    client.push(client.series("a"))
    large = client.series("a", padding="x" * 3_000_000)
    for _ in range(10):
        error = expect_error(Code.OUT_OF_RANGE, lambda: client.push(large))
        expect("1000000" in error.details(), error.details())
    client.push(client.series("a"))
    client.still_connected()


def push_unavailable(client):
    error = expect_error(Code.UNAVAILABLE, lambda: client.push(client.series("a")))
    trailers = dict(error.trailing_metadata())
    expect(int(trailers["retry-after"]) > 0, f"{trailers}")
    client.push(client.series("a"))


def push_deadline(client):
    """The downstream hangs until `late` was said, and some more time."""
    client.serving()
    start = time.monotonic()
    expect_error(Code.DEADLINE_EXCEEDED, lambda: client.push(client.series("a"), timeout=1))
    expect(time.monotonic() - start < 10, "the deadline came late")
    print("late", flush=True)

    def goes_on():
        try:
            return client.push(client.series("a"), timeout=1)
        except grpc.RpcError as error:
            expect_equal(error.code(), Code.DEADLINE_EXCEEDED, "until the downstream answers")
            return None

    eventually("the downstream to answer", goes_on)
    client.still_connected()


def check(client):
    """Of a tracker in which a tenant may have one cluster."""
    expect_equal(client.check("t", "c", "a").WhichOneof("outcome"), "accepted", "a")
    expect_equal(client.check("t", "c", "b").deduplicated.elected, "a", "b")
    expect_equal(client.check("t", "c", "a").WhichOneof("outcome"), "accepted", "a again")
    expect_equal(client.check("t", "d", "a").too_many_clusters.limit, 1, "another cluster")
    expect_equal(client.check("u", "d", "b").WhichOneof("outcome"), "accepted", "another tenant")
    timed = client.tracker_messages.CheckRequest(
        tenant="t", cluster="c", replica="a", sample_time_ms=round(time.time() * 1000)
    )
    answer = client.tracker.Check(timed, timeout=LIMIT)
    expect_equal(answer.WhichOneof("outcome"), "accepted", "with a time")
    for field, values in [
        ("tenant", ("", "c", "a")),
        ("cluster", ("t", "", "a")),
        ("replica", ("t", "c", "")),
        ("replica", ("t", "c", "a" * 2000)),
    ]:
        error = expect_error(Code.INVALID_ARGUMENT, lambda: client.check(*values))
        expect(field in error.details(), error.details())
    path = f"/{SERVICES[1]}/Check"
    expect_error(Code.INTERNAL, lambda: client.call_raw(path, b"\x0a\xff"))
    client.still_connected()


def list_elected(client):
    expected = [("t", f"c{number}") for number in range(5)]
    for tenant, cluster in [*reversed(expected), ("other", "c0")]:
        expect_equal(client.check(tenant, cluster, "a").WhichOneof("outcome"), "accepted", cluster)
    expected.insert(0, ("other", "c0"))

    def all_there():
        elections = client.list().elections
        return elections if len(elections) == 6 else None

    elections = eventually("all to be listed", all_there)
    expect_equal(names(elections), expected, "the list")
    for election in elections:
        desc = election.desc
        complete = desc.replica == "a" and desc.received_at > 0 and desc.elected_at > 0
        expect(complete and desc.deleted_at == 0, f"{election}")

    pages, token = [], ""
    while not pages or token:
        page = client.list(tenant="t", page_size=2, page_token=token)
        pages.append(names(page.elections))
        token = page.next_page_token
    expect_equal(pages, [expected[1:3], expected[3:5], expected[5:6]], "pages of a tenant")
    page = client.list(page_size=6)
    expect_equal((len(page.elections), page.next_page_token), (6, ""), "a page that is just full")
    page = client.list(tenant="nobody")
    expect_equal((len(page.elections), page.next_page_token), (0, ""), "of nobody")
    for wrong in [{"page_size": 1001}, {"page_token": "?"}, {"tenant": "a/b"}]:
        expect_error(Code.INVALID_ARGUMENT, lambda: client.list(**wrong))


def watch_elections(client):
    client.check("t", "c0", "a")
    eventually("the first election", lambda: client.list().elections or None)
    stream, of_tenant = client.watch(), client.watch(tenant="t")
    for watch in (stream, of_tenant):
        expect_equal(names(state_of(watch)), [("t", "c0")], "the state")
    client.check("other", "c1", "b")
    client.check("t", "c1", "b")
    for tenant in ("other", "t"):
        elected = next(stream).elected
        expect_equal(names([elected]), [(tenant, "c1")], "a change")
        expect_equal(elected.desc.replica, "b", "the elected replica")
    expect_equal(names([next(of_tenant).elected]), [("t", "c1")], "a change of the tenant's")

    stream.cancel()
    expect_error(Code.CANCELLED, lambda: next(stream))
    # Others on the connection do not notice.
    client.check("t", "c2", "a")
    expect_equal(names([next(of_tenant).elected]), [("t", "c2")], "after another's cancellation")

    start = time.monotonic()
    short = client.watch(timeout=1)
    expect_error(Code.DEADLINE_EXCEEDED, lambda: list(short))
    expect(time.monotonic() - start < 10, "the deadline came late")
    expect_error(Code.INVALID_ARGUMENT, lambda: next(client.watch(tenant="a/b")))
    of_tenant.cancel()
    client.still_connected()


def watch_until_drained(client):
    """Says `watching` once it is, and is told to go elsewhere when the distributor is stopped."""
    stream = client.watch()
    state_of(stream)
    health = client.health.Watch(health_pb2.HealthCheckRequest(), timeout=LIMIT)
    statuses = health_pb2.HealthCheckResponse
    expect_equal(next(health).status, statuses.SERVING, "health before")
    print("watching", flush=True)
    error = expect_error(Code.UNAVAILABLE, lambda: next(stream))
    expect("shutting down" in error.details(), error.details())
    expect_equal(next(health).status, statuses.NOT_SERVING, "health after")
    expect_equal(list(health), [], "health at the end")


def unknown(client):
    """Methods and services that there are not."""
    for path in ["/distributor.Distributor/Pull", f"/{SERVICES[1]}/Elect", "/no.Service/Push"]:
        expect_error(Code.UNIMPLEMENTED, lambda: client.call_raw(path, b""))
    streams = client.channel.unary_stream("/no.Service/Watch")(b"", timeout=LIMIT)
    expect_error(Code.UNIMPLEMENTED, lambda: next(streams))
    client.push(client.series("a"))
    client.still_connected()


def health(client):
    for service in ["", *SERVICES]:
        client.serving(service)
        request = health_pb2.HealthCheckRequest(service=service)
        stream = client.health.Watch(request, timeout=LIMIT)
        status = next(stream).status
        expect_equal(status, health_pb2.HealthCheckResponse.SERVING, f"watching {service!r}")
        stream.cancel()
    expect_error(Code.NOT_FOUND, lambda: client.serving("no.Service"))


def without_tracker(client):
    client.push(client.series("a"))
    expect_error(Code.UNIMPLEMENTED, lambda: client.check("t", "c", "a"))
    client.serving(SERVICES[0])
    expect_error(Code.NOT_FOUND, lambda: client.serving(SERVICES[1]))


def reflection(client):
    for version in ["v1", "v1alpha"]:
        ask_reflection(client, f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")


def ask_reflection(client, path):
    """The messages of all versions are the same; the library has those of one."""
    call = client.channel.stream_stream(
        path,
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = queue.SimpleQueue()
    answers = call(iter(asked.get, None), timeout=LIMIT)

    def ask(**question):
        asked.put(reflection_pb2.ServerReflectionRequest(**question))
        return next(answers)

    listed = ask(list_services="").list_services_response.service
    listed = [service.name for service in listed]
    for service in [*SERVICES, "grpc.health.v1.Health"]:
        expect(service in listed, f"{service} is not among {listed}")
    for service in SERVICES:
        answer = ask(file_containing_symbol=service)
        found = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
        package, name = service.rsplit(".", 1)
        expect(
            any(
                file.package == package and name in [service.name for service in file.service]
                for file in found
            ),
            f"{service} is not in {answer}",
        )
    asked.put(None)
    expect_equal(list(answers), [], "what follows the last answer")


def tls(client):
    client.push(client.series("a"))
    client.check("t", "c", "a")
    client.serving()


def refused(client):
    """No call gets as far as the server."""
    expect_error(Code.UNAVAILABLE, lambda: client.push(client.series("a")))
    expect_error(Code.UNAVAILABLE, client.serving)


def broken_bytes(client):
    """What no client of gRPC sends, on connections of their own."""
    client.push(client.series("a"))
    for name, garbage in http2.GARBAGE.items():
        http2.send_and_abort(client.address, garbage)
        expect(http2.is_closed_after(client.address, garbage), f"{name}: nobody hangs up")
        client.serving()
    body = client.series("a", name="broken").SerializeToString()
    for name, frame in http2.broken_messages(body).items():
        connection = http2.Connection(client.address)
        connection.request(PUSH, frame, end=True)
        expect(connection.response_ends(), f"{name}: the stream did not end")
        expect(connection.answers_ping(), f"{name}: the connection is dead")
        connection.close()
        # The client vanishes in the middle of the message.
        connection = http2.Connection(client.address)
        connection.request(PUSH, frame, end=False)
        expect(connection.answers_ping(), f"{name}: the connection is dead")
        connection.abort()
        client.serving()
    client.push(client.series("a"))
    client.still_connected()


SCENARIOS = [
    broken_bytes,
    check,
    compressed,
    compressed_otherwise,
    health,
    list_elected,
    push,
    push_bomb,
    push_deadline,
    push_oversize,
    push_unavailable,
    reflection,
    refused,
    tls,
    unknown,
    watch_elections,
    watch_until_drained,
    without_tracker,
]


def main():
    # Says where it waits, should it wait for longer than all tests take.
    faulthandler.dump_traceback_later(15, repeat=True)
    parser = argparse.ArgumentParser()
    for option in ["--address", "--ca", "--cert", "--key", "--compression"]:
        parser.add_argument(option, required=option == "--address")
    scenarios = {scenario.__name__: scenario for scenario in SCENARIOS}
    parser.add_argument("scenario", choices=scenarios)
    parser.add_argument("argument", nargs="*")
    options = parser.parse_args()
    client = Client(options)
    status = 0
    try:
        scenarios[options.scenario](client, *options.argument)
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Not the interpreter's own end: there, the library waits for a lock of its channel that a thread
    # may hold which no longer runs.
    os._exit(status)


main()
