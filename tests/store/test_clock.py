"""What time it is for Redis, as a server estimates it between the answers."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from lacewing_server.store.redis.clock import RedisClock

EPOCH_MS = 1_700_000_000_000


class Clocks:
    """A clock here, one at Redis, and the estimate."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.seconds = 1_000.0
        self.ahead_ms = ahead_ms
        self.estimate = RedisClock(lambda: self.seconds)

    def redis_ms(self) -> int:
        """What Redis would say."""
        return EPOCH_MS + self.ahead_ms + round(self.seconds * 1000)

    def error_ms(self) -> int:
        """How far the estimate is ahead of the truth."""
        return self.estimate.now_ms() - self.redis_ms()


def test_until_the_first_answer_it_is_the_time_here() -> None:
    """A server shows times before it has made a transition."""
    assert abs(RedisClock().now_ms() - time.time() * 1000) < 1_000


def test_it_follows_redis_whatever_the_time_is_here() -> None:
    """Redis may be a day behind or ahead."""
    for ahead_ms in (-86_400_000, 86_400_000):
        clocks = Clocks(ahead_ms)
        clocks.estimate.learn(clocks.redis_ms())
        clocks.seconds += 5
        assert abs(clocks.error_ms()) <= 1


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 8)), min_size=1, max_size=4))
def test_answers_that_were_long_on_their_way_do_not_set_it_back(delayed: list[tuple[float, float]]) -> None:
    """After a quick answer the estimate stays right, however late those of the next minute come."""
    clocks = Clocks()
    clocks.estimate.learn(clocks.redis_ms())
    for pause, delay in delayed:
        clocks.seconds += pause
        clocks.estimate.learn(clocks.redis_ms() - round(delay * 1000))
        assert abs(clocks.error_ms()) <= 1


def test_a_redis_whose_clock_was_set_back_is_followed() -> None:
    """Within a minute, while it answers."""
    clocks = Clocks()
    clocks.estimate.learn(clocks.redis_ms())
    clocks.ahead_ms = -3_600_000
    for _ in range(61):
        clocks.seconds += 1
        clocks.estimate.learn(clocks.redis_ms())
    assert abs(clocks.error_ms()) <= 1
