import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.observe import throughput
from textclf_jax.observe.throughput import Speed, Throughput


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    return now


def test_speed_counts_real_tokens_padding_and_flops(clock):
    counter = Throughput({(4, 10): 1000, (4, 20): 3000}.__getitem__, lambda: 8000.0)
    clock[0] += 0.5
    counter.add((4, 10), 30)
    clock[0] += 1.5
    counter.add((4, 20), 60)
    assert counter.speed() == Speed(45.0, pytest.approx(4000 / 2 / 8000), pytest.approx(1 - 90 / 120), 2.0)


def test_pauses_do_not_count_and_a_restart_forgets(clock):
    counter = Throughput(lambda shape: shape[1], lambda: None)
    clock[0] += 0.5
    with counter.paused():
        clock[0] += 4.0
    clock[0] += 0.5
    counter.add((4, 10), 30)
    assert counter.speed() == Speed(30.0, None, 0.25, 1.0)
    clock[0] += 1.0
    counter.restart()
    assert counter.speed() == Speed(0.0, None, 1.0, 0.0)
    clock[0] += 2.0
    counter.add((4, 10), 30)
    assert counter.speed().tokens_per_second == 15.0


def test_a_pause_that_ends_by_an_exception_does_not_count(clock):
    counter = Throughput(lambda shape: shape[1], lambda: None)

    def interrupted():
        with counter.paused():
            clock[0] += 4.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    clock[0] += 1.0
    counter.add((4, 10), 30)
    assert counter.speed().tokens_per_second == 30.0


def test_what_comes_between_steps_counts_though_rows_are_forgotten(clock):
    """Writing a row of the log takes time from the next steps."""
    counter = Throughput(lambda shape: shape[1], lambda: None)
    clock[0] += 1.0
    counter.add((4, 10), 30)
    clock[0] += 2.0
    counter.forget()
    clock[0] += 1.0
    counter.add((4, 10), 30)
    assert counter.speed().tokens_per_second == 10.0


def test_figures_leave_out_what_is_unknown():
    assert Speed(1234.56, None, 0.123456).figures() == {"tokens_per_second": 1234.6, "padding_waste": 0.12346}
    assert Speed(1.0, 0.5, 0.0).figures()["mfu"] == 0.5


def test_the_mfu_of_a_tiny_model_is_not_rounded_to_zero():
    assert Speed(1.0, 0.0000123456, 0.0).figures()["mfu"] == 0.000012346


def test_a_limit_that_is_passed_is_measured_again(clock):
    """It was measured while others used the machine; where the new one is passed too, there is no figure."""
    limits = iter([100.0, 50.0, 400.0])
    counter = Throughput(lambda shape: 1000, lambda: next(limits))
    found = []
    for seconds in (20.0, 5.0, 5.0, 30.0, 2.0):
        clock[0] += seconds
        counter.forget()
        counter.restart()
        clock[0] += 5.0
        counter.add((1, 1), 1)
        found.append(counter.speed().mfu)
    # 200 FLOP/s: passed at once; measured lower; not measured again so soon; then passed, and measured high enough
    assert found == [None, None, None, 0.5, 0.5]


def test_measuring_the_limit_again_does_not_count_as_training(clock):
    def measure():
        clock[0] += 3.0
        return 100.0

    counter = Throughput(lambda shape: 1000, measure)
    clock[0] += 40.0
    counter.restart()
    clock[0] += 1.0
    counter.add((1, 1), 10)
    assert counter.speed().mfu is None
    clock[0] += 1.0
    counter.add((1, 1), 10)
    assert counter.speed().tokens_per_second == 10.0


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**18)), min_size=1, max_size=8),
    st.lists(st.none() | st.floats(0, 1e15), min_size=20, max_size=20),
)
def test_strangers_among_clocks_never_pass_the_limit(steps, limits):
    now, given_limits = [0.0], iter([*limits, *[None] * 20])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput.time, "perf_counter", lambda: now[0])
        counter = Throughput(lambda shape: shape[1], lambda: next(given_limits))
        for seconds, flops in steps:
            now[0] += seconds
            counter.add((1, flops), 0)
            share = counter.speed().mfu
            assert share is None or 0 <= share <= 1
