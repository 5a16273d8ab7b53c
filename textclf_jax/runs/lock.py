"""One process at a time on a run folder, in which files can be made: both are checked before a run starts."""

import errno
import os
from pathlib import Path

from textclf_jax.errors import UserError
from textclf_jax.files import why_not_writable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class RunLock:
    """Locks a run folder while it is entered; the kernel releases the lock however the process ends.

    The lock belongs to the open file (flock): a file that a killed process left behind locks nothing. Windows has none.
    """

    def __init__(self, run_dir: Path):
        self._path = run_dir / LOCK_FILE
        self._descriptor = -1

    def __enter__(self) -> "RunLock":
        """Takes the lock.

        Raises:
          UserError: another process has it (its pid is named), or the folder cannot be written.
        """
        check_writable(self._path.parent)
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._lock()
                if self._is_in_place():
                    break
            except BaseException:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(self, *_: object) -> None:
        if fcntl is None:  # a file cannot be removed there while it is open
            os.close(self._descriptor)
            self._path.unlink(missing_ok=True)
            return
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _lock(self) -> None:
        if not lock(self._descriptor, self._path.parent):
            pid = os.read(self._descriptor, 20).decode().strip() or "not yet known"
            raise UserError(
                f"{self._path.parent}: another process (pid {pid}) is at work on this run. Wait until it has ended, or "
                f"stop it with: kill {pid}"
            )

    def _is_in_place(self) -> bool:
        return is_in_place(self._descriptor, self._path)


def lock(descriptor: int, folder: Path) -> bool:
    """Locks an open file for this process alone; False where another process has it.

    Where there are no locks, a line says so, and the answer is True. `folder`, where the file lies, is for that line.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
    print(f"{folder}: this file system has no locks; start one process only", flush=True)
    return True


def is_in_place(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name: who held its lock may have removed or renamed it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def check_writable(run_dir: Path) -> None:
    """Makes the run folder if need be. Raises UserError unless files can be made in it and in every folder below it."""
    for folder in (run_dir, *(path for path in run_dir.rglob("*") if path.is_dir())):
        if reason := why_not_writable(folder):
            raise UserError(
                f"{folder}: files cannot be made in this folder ({reason}). Give yourself the right to write "
                "there, or make the experiment elsewhere."
            )
