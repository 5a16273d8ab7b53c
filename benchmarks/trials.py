"""Which of the peer's modes is the fastest on this device: each is tried briefly."""

from benchmarks.bench import NO_PEER, Bench, Row, add_note, message
from benchmarks.cases import Case, peer_modes
from benchmarks.worker import WorkerFailed

# for compiling and the first steps; on a GPU both sides compile at the same time
TRIAL_LIMIT_SECONDS = {"cpu": 90.0, "gpu": 150.0}


def fastest_mode(bench: Bench, case: Case, row: Row, *, compiled: bool = True) -> str | None:
    """Tries each of the peer's modes on a case.

    Args:
      bench: where to measure.
      case: what the peer does; a measure that its worker can repeat.
      row: gets a note of the modes that fail or take too long to compile.
      compiled: whether modes that need `torch.compile` are tried, too.

    Returns:
      The name of the fastest mode; None if no mode works or there is no peer, with a note in the row.
    """
    if not bench.has_peer:
        add_note(row, NO_PEER)
        return None
    names = peer_modes(bench.platform, compiled=compiled and case.computes)
    if len(names) == 1 or not case.computes:
        return names[0]
    speeds: dict[str, float] = {}
    failures: dict[str, WorkerFailed] = {}
    for name in names:
        try:
            speeds[name] = _tokens_per_second(bench, case, name)
        except WorkerFailed as error:
            failures[name] = error
    if not speeds:
        add_note(row, f"no peer: {failures[names[0]]}")
        return None
    if failures:
        add_note(row, f"the peer's trial failed in {', '.join(failures)}: {next(iter(failures.values()))}")
    return max(speeds, key=speeds.__getitem__)


def _tokens_per_second(bench: Bench, case: Case, mode: str) -> float:
    """The speed of the peer in a mode, once it is warm."""
    with bench.warm_peer("trial") as peer:
        peer.ask("start", **message(case, bench), mode=mode)
        peer.ask("take", count=case.trial_steps, timeout_seconds=TRIAL_LIMIT_SECONDS[bench.platform])
        taken = peer.ask("take", count=case.trial_steps)
    return taken["tokens"] / taken["seconds"]
