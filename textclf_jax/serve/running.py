"""The server's life: its address, the wait until it is ready, and an end at which everybody has an answer."""

import errno
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import uvicorn

from textclf_jax.errors import UserError
from textclf_jax.runs.signals import StopRequest
from textclf_jax.serve.app import make_app
from textclf_jax.serve.service import Service
from textclf_jax.serve.settings import Settings

if TYPE_CHECKING:
    from textclf_jax.evaluation.classifier import Classifier

POLL_SECONDS = 0.1
FINISH_SECONDS = 30  # for the requests that are in progress when the server is to stop
COMPILE_SECONDS = 3.0  # for a compilation that nobody waits for any more
QUEUED_CONNECTIONS = 1024
LOCAL = ("127.0.0.1", "::1", "localhost")
REMEDIES = {
    errno.EADDRINUSE: "another program has this port. Stop it, or choose another one: --port 0 takes any that is free",
    errno.EACCES: "ports below 1024 are for the administrator. Choose one from 1024 on: --port",
    errno.EADDRNOTAVAIL: "this machine does not have this address. Choose one that it has: --host 127.0.0.1",
}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      UserError: the address cannot be had; the message has the remedy.
    """
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        # the port of a server that has just ended can be had at once
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(QUEUED_CONNECTIONS)
        return listener
    except OSError as error:
        if listener is not None:
            listener.close()
        remedy = REMEDIES.get(error.errno or 0, f"{error.strerror}. Choose another address: --host 127.0.0.1")
        raise UserError(f"--host {host} --port {port}: {remedy}") from None
    except UnicodeError:  # of a name that cannot be one of the internet
        raise UserError(f"--host {host}: is no address. Choose another one: --host 127.0.0.1") from None


def url_of(listener: socket.socket) -> str:
    """The address of a socket that listens, for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(classifier: "Classifier", name: str, settings: Settings, listener: socket.socket) -> int:
    """Answers requests until SIGTERM or SIGINT; a second one ends the process at once.

    Args:
      classifier: that answers.
      name: of the model.
      settings: limits.
      listener: see `listen`.

    Returns:
      The exit code: 0 where every request that was accepted has its answer, otherwise 1.

    Raises:
      UserError: the model cannot predict.
    """
    service = Service(classifier, settings, note=_say)
    app = make_app(service, name)
    # others than these are taken where their packages happen to be installed
    parts = {"loop": "asyncio", "http": "h11", "ws": "none", "lifespan": "off"}
    quiet = {"log_config": None, "log_level": "error", "access_log": False, "server_header": False}
    server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=FINISH_SECONDS, **parts, **quiet))
    _say(f"serving {name} at {url_of(listener)} (Ctrl-C stops it)")
    if settings.host not in LOCAL:
        _say("whoever reaches this address can use the model: there is no authentication")
    with StopRequest() as stop, stop.deferred(), ThreadPoolExecutor(1) as pool:
        service.start()
        # in another thread than the main one, uvicorn leaves the signals alone
        serving = pool.submit(server.run, sockets=[listener])
        while not serving.done() and stop.signal is None and service.failure is None:
            wait([serving], POLL_SECONDS)
        service.stop()
        server.should_exit = True
        serving.result()
    ended = service.close(COMPILE_SECONDS)
    if service.failure is not None:
        raise service.failure
    late = f": {service.given_up:,} requests had no answer after {FINISH_SECONDS} s" if service.given_up else ""
    _say(f"stopped{late}")
    code = 1 if late else 0
    if not ended:  # a compilation, which nothing can interrupt, nor Python end with
        sys.stderr.flush()
        os._exit(code)
    return code


def _say(text: str) -> None:
    print(text, flush=True)
