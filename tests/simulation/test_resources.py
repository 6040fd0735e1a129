from __future__ import annotations

import random

from cocoi_cli.simulation.clock import Clock
from cocoi_cli.simulation.resources import Backlog, Server, stream


def test_a_clock_makes_calls_in_the_order_of_their_moments_and_then_of_planning():
    clock, made = Clock(), []
    for moment, name in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        clock.at(moment, lambda name=name: made.append((clock.now, name)))
    while clock.step():
        pass
    assert made == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]


def test_a_clock_never_runs_backwards():
    clock, made = Clock(), []
    clock.at(3.0, lambda: clock.at(1.0, lambda: made.append(clock.now)))
    while clock.step():
        pass
    assert made == [3.0]


def test_a_server_takes_one_job_at_a_time_in_the_order_of_arrival():
    generator = random.Random(3)
    server, moment, previous = Server(), 0.0, 0.0
    total = 0.0
    for _ in range(200):
        moment += generator.expovariate(1.0)
        seconds = generator.expovariate(1.2)
        start, end = server.serve(moment, seconds)
        assert start == max(moment, previous)
        assert end == start + seconds
        previous, total = end, total + seconds
    assert abs(server.busy_s - total) < 1e-9


def test_a_message_streams_through_port_and_link_at_the_speed_of_the_slower():
    assert stream(1.0, Server(), 0.5, Server(), 0.2) == 1.5
    assert stream(1.0, Server(), 0.5, Server(), 0.9) == 1.9


def test_a_slow_link_holds_the_shared_port_for_the_bytes_only():
    port = Server()
    assert stream(0.0, port, 0.1, Server(), 1.0) == 1.0
    assert stream(0.0, port, 0.1, Server(), 0.1) == 0.2


def test_a_link_takes_messages_one_after_another():
    link = Server()
    assert stream(0.0, Server(), 0.0, link, 1.0) == 1.0
    assert stream(0.5, Server(), 0.0, link, 1.0) == 2.0


def test_a_backlog_does_jobs_in_order_and_one_at_a_time():
    clock = Clock()
    backlog, done = Backlog(clock), []

    def job(name: str, seconds: float):
        def run(start: float) -> float:
            done.append((name, start))
            return start + seconds

        return run

    for moment, name, seconds in ((0.0, "a", 2.0), (1.0, "b", 1.0), (1.5, "c", 0.5), (9.0, "d", 1.0)):
        clock.at(moment, backlog.add, job(name, seconds))
    while clock.step():
        pass
    assert done == [("a", 0.0), ("b", 2.0), ("c", 3.0), ("d", 9.0)]
    assert backlog.busy_s == 4.5


def test_what_comes_when_a_backlog_gets_free_waits_behind_what_was_there():
    clock = Clock()
    backlog, done = Backlog(clock), []
    clock.at(0.0, backlog.add, lambda start: start + 1.0)
    clock.at(0.5, backlog.add, lambda start: (done.append("first"), start + 1.0)[1])
    # Planned before the backlog's own waking at that moment.
    clock.at(1.0, backlog.add, lambda start: (done.append("second"), start + 1.0)[1])
    while clock.step():
        pass
    assert done == ["first", "second"]
