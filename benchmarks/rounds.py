"""Two workers that alternate in rounds, and the row of figures that results."""

import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.bench import Bench, Row, add_note, message, new_row
from benchmarks.cases import Case
from benchmarks.trials import fastest_mode
from benchmarks.worker import Worker, WorkerFailed

ROUND_SECONDS = {"cpu": 12.0, "gpu": 0.5}
TRACED_STEPS = 20


def measure_rounds(bench: Bench, case: Case, *, with_peer: bool) -> Row:
    """Measures real tokens a second of both sides: medians over rounds in which one works, then the other."""
    row = new_row(case)
    with ExitStack() as stack:
        ours, mode = _start_sides(bench, case, stack, row, with_peer=with_peer)
        our_rounds, limits = Rounds(bench, ours, case.repetitions), []
        peer_rounds = _start_peer(bench, case, mode, stack, row) if mode else None
        for i in range(case.rounds):
            our_rounds.measure_one()
            # what a GPU can do hardly changes, and its large matrices take a second to draw
            if i == 0 or bench.platform == "cpu":
                limits.append(bench.limit())
            if peer_rounds:
                peer_rounds.measure_one()
        row |= {"ours": our_rounds.median("tokens"), "peak_mb": our_rounds.peak_mb()}
        if our_rounds.counts("flops"):
            row |= {"flops": our_rounds.median("flops"), "limit": max(limits)}
        if peer_rounds:
            row |= {"peer": peer_rounds.median("tokens"), "peer_peak_mb": peer_rounds.peak_mb()}
            row["peer_mode"] = mode if case.computes else None
        if case.repetitions is not None:
            row |= our_rounds.whole()
        if bench.platform == "gpu" and case.measure == "training":
            row["batch_wait"] = our_rounds.median("batch_wait")
            row["idle"] = _idle_share(ours, row)
    return row


def _start_sides(bench: Bench, case: Case, stack: ExitStack, row: Row, *, with_peer: bool) -> tuple[Worker, str | None]:
    """Starts our side and finds the peer's fastest mode: at the same time on a GPU, else the peer first.

    Args:
      bench: where to measure.
      case: what to measure.
      stack: ends our worker.
      row: gets the facts of our side, and a note where there is no peer.
      with_peer: whether there should be one.

    Returns:
      Our worker, and the peer's mode; None where there is none.

    Raises:
      WorkerFailed: our side cannot do its work.
    """
    mode = None
    if with_peer and not bench.side_by_side:
        # tried before our side holds memory
        mode = fastest_mode(bench, case, row)
    ours = stack.enter_context(bench.ours())
    bench.prepare_ours()
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(ours.ask, "start", **message(case, bench))
        if with_peer and bench.side_by_side:
            mode = fastest_mode(bench, case, row)
        row |= started.result()
    return ours, mode


def _idle_share(ours: Worker, row: Row) -> float | None:
    """The share of the time of training in which the device does nothing; None, with a note, if that is not seen."""
    try:
        share = ours.ask("idle", count=TRACED_STEPS)["idle"]
    except WorkerFailed as error:
        add_note(row, f"no trace: {error}")
        return None
    if share is None:
        add_note(row, "no trace: it shows no step")
    return share


class Rounds:
    """The rounds of one side, each of about `ROUND_SECONDS` of work."""

    def __init__(self, bench: Bench, worker: Worker, repetitions: int | None = None):
        """Warms the worker up, and finds how many repetitions fill a round.

        Args:
          bench: says how long a round is.
          worker: has answered `start`.
          repetitions: of a round, where they are given.

        Raises:
          WorkerFailed: it cannot do its work.
        """
        self._worker, self._rounds = worker, []
        worker.ask("take", count=1)
        if repetitions is not None:
            self._count = repetitions
            return
        wanted, self._count = ROUND_SECONDS[bench.platform], 1
        # doubled until they can be timed: a few milliseconds say little about the speed of a round
        while (seconds := worker.ask("take", count=self._count)["seconds"]) < wanted / 4:
            self._count *= 2
        self._count = max(1, round(self._count * wanted / seconds))

    def measure_one(self) -> None:
        """Measures one more round."""
        # one uncounted repetition first: the system may have reclaimed memory and caches while the other side worked
        self._worker.ask("take", count=1)
        self._rounds.append(self._worker.ask("take", count=self._count))

    def peak_mb(self) -> float:
        """The worker's peak memory so far, MB."""
        return self._worker.ask("memory")["peak_mb"]

    def counts(self, figure: str) -> bool:
        """Whether the worker's answers contain this figure."""
        return figure in self._rounds[0]

    def median(self, figure: str) -> float:
        """The median over rounds of a figure per second."""
        return statistics.median(taken[figure] / taken["seconds"] for taken in self._rounds)

    def whole(self) -> Row:
        """Texts and seconds of a round of median length."""
        return {"texts": self._rounds[0]["texts"], "seconds": statistics.median(one["seconds"] for one in self._rounds)}


def _start_peer(bench: Bench, case: Case, mode: str, stack: ExitStack, row: Row) -> Rounds | None:
    """Starts and warms the peer; where that fails, returns None and adds a note to the row."""
    peer = stack.enter_context(bench.warm_peer())
    try:
        peer.ask("start", **message(case, bench), mode=mode)
        return Rounds(bench, peer)
    except WorkerFailed as error:
        add_note(row, f"no peer: {error}")
        return None
