"""What a server is to keep to: its address, how it forms batches, and the limits on requests."""

from dataclasses import dataclass

from textclf_jax.errors import UserError

HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Settings:
    """Of a server. A request that passes a limit is refused, and the answer says the limit.

    Attributes:
      host: address to listen on; 127.0.0.1 is seen from this machine alone.
      port: 0 takes a free one.
      latency_ms: milliseconds from the arrival of a request to its answer that waiting for others may not exceed.
      max_batch: most texts that are computed at once.
      max_waiting: most requests that are read, waiting or being computed at a time.
      max_body: most bytes of a request.
      max_texts: most texts of a request.
      max_characters: most characters of a text.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    latency_ms: float = 100.0
    max_batch: int = 32
    max_waiting: int = 256
    max_body: int = 1 << 20
    max_texts: int = 256
    max_characters: int = 100_000


def check_settings(settings: Settings) -> None:
    """Raises UserError for a number that cannot be."""
    if not 0 <= settings.port <= HIGHEST_PORT:
        raise UserError(f"--port {settings.port} must be from 1 to {HIGHEST_PORT}, or 0 for any that is free")
    if not 0 <= settings.latency_ms < float("inf"):
        raise UserError(f"--latency-ms {settings.latency_ms:g} must be 0 or more milliseconds")
    for flag, number in (
        ("--max-batch", settings.max_batch),
        ("--max-waiting", settings.max_waiting),
        ("--max-body", settings.max_body),
        ("--max-texts", settings.max_texts),
        ("--max-characters", settings.max_characters),
    ):
        if number < 1:
            raise UserError(f"{flag} {number} must be at least 1")
