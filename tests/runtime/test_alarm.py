"""The clock that wakes the session."""

from __future__ import annotations

import asyncio

from cocoi_cli.runtime.alarm import Alarm


def rung_by(*moments: float | None) -> list[float]:
    """Delays with which the loop is asked to ring, for moments that are set in a row at time 10; None cancels."""

    async def main() -> list[float]:
        loop, delays = asyncio.get_running_loop(), []
        later = loop.call_later

        def call_later(delay, callback, *rest, **more):
            delays.append(delay)
            return later(3600, callback, *rest, **more)

        loop.call_later = call_later
        alarm = Alarm(lambda: 10.0, lambda: None)
        for moment in moments:
            alarm.cancel() if moment is None else alarm.set(moment)
        alarm.cancel()
        return delays

    return asyncio.run(main())


def test_one_that_rings_earlier_is_left_alone() -> None:
    assert rung_by(12.0, 13.0, 12.0) == [2.0]


def test_one_that_rings_later_is_set_anew() -> None:
    assert rung_by(12.0, 11.0, 11.5) == [2.0, 1.0]


def test_a_moment_that_has_passed_is_now() -> None:
    assert rung_by(9.0) == [0.0]


def test_what_was_cancelled_can_be_set_again() -> None:
    assert rung_by(12.0, None, 13.0) == [2.0, 3.0]


def test_it_rings_once_and_can_be_set_by_whoever_it_wakes() -> None:
    async def main() -> int:
        done = asyncio.get_running_loop().create_future()
        times = 0

        def ring() -> None:
            nonlocal times
            times += 1
            if times < 3:
                alarm.set(0.0)
            else:
                done.set_result(times)

        alarm = Alarm(lambda: 0.0, ring)
        alarm.set(0.0)
        return await done

    assert asyncio.run(main()) == 3
