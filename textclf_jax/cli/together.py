"""A command in one of several processes that carry a run: how it ends, and who prints."""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

import jax

from textclf_jax.errors import UserError
from textclf_jax.runtime.processes import CommonError, explained_loss


def among_others(command: Callable[[], int]) -> int:
    """Runs a command in a process that has joined others.

    Args:
      command: gives the exit code.

    Returns:
      The exit code, once all processes have come here. Where the command raises, this process ends here and now, with
      a message: at its exit JAX would wait for the others, and they for it. They end since it is gone. Where they have
      the same error it waits for them: JAX aborts those that still run when the first one is gone.
    """
    is_common = False
    try:
        with explained_loss():
            code = command()
        sys.stdout.flush()
        jax.distributed.shutdown()
        return code
    except UserError as error:
        told, code, is_common = str(error), 2, isinstance(error, CommonError)
    except KeyboardInterrupt as stopped:
        told, code = "interrupted", stopped.args[0] if stopped.args else 130
    except BaseException:  # a bug, or a file that cannot be written
        told, code = traceback.format_exc(), 1
    print(f"process {jax.process_index()}: {told}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    if is_common:
        with suppress(Exception):  # there is a message already
            jax.distributed.shutdown()
    os._exit(code)
