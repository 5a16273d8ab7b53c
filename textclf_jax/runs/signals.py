"""Stopping on request: what can be repeated ends at once, training ends where its state is saved.

Python runs its handlers between instructions of the main thread alone, and a compilation is one such instruction that
can take minutes. So a second thread is told of each signal, too, and ends the process where the main thread does not.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 3.0  # for the main thread to end by itself where there is nothing to save
END = b"\0"


class Stopped(KeyboardInterrupt):
    """A signal ended what can be repeated."""


class StopRequest:
    """Catches SIGINT and SIGTERM while it is entered.

    The first one raises Stopped, unless it comes while `deferred`; the second one ends the process at once. Without
    `catches` none is caught, and none can be in another thread than the main one.

    Attributes:
      received: the number of the first signal, or None.
      signal: of the one that counts: the first one, or what processes have agreed on.
      is_shared: several processes stop together: none does before they have agreed.
    """

    def __init__(self, *, catches: bool = True):
        self._catches = catches
        self.received: int | None = None
        self.signal: int | None = None
        self.is_shared = False
        self._raises = True
        self._must_save = False
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if not self._catches:
            return self
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        self._previous_wakeup = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._catches:
            return
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._sender.send(END)
        self._watcher.join()
        self._receiver.close()
        self._sender.close()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """In here the first signal is only noted: whoever is in here looks at `signal`, saves and leaves."""
        self._raises, self._must_save = False, True
        try:
            yield
        finally:
            self._raises, self._must_save = True, False

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Inside `deferred`: what is in here can be repeated, and the first signal ends it by Stopped."""
        self._raises = True
        try:
            if self.signal is not None:
                raise Stopped
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        first = self.received is None
        self.received = self.received or number
        if self.is_shared:
            return
        self.signal = self.received
        if first and self._raises:
            raise Stopped

    def _watch(self) -> None:
        """Ends the process on the second signal, or if the first one has no effect and there is nothing to save."""
        seen: int | None = None
        while True:
            try:
                byte = self._receiver.recv(1)
            except TimeoutError:
                if not self._must_save:
                    os._exit(128 + (seen or 0))
                continue
            if byte == END:
                return
            if byte[0] not in SIGNALS:
                continue
            if seen is not None:
                os._exit(128 + byte[0])
            seen = byte[0]
            self._receiver.settimeout(GRACE_SECONDS)

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, as shells have it; 0 where nothing was asked."""
        return 128 + self.signal if self.signal else 0
