"""TCP ports for tests, of which many run at once."""

import atexit
import contextlib
import random
import socket

# Below those that kernels give to whoever connects, or listens at any: these
# are taken by others at any moment.
FIRST, END = 10000, 32768

# They say which ports are this process's, as long as it lives.
_claims = contextlib.ExitStack()
atexit.register(_claims.close)


def _claim(port):
    """Fails if another test has it, whether or not it listens there now."""
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind("\0quarry-test-port-%d" % port)
    except OSError:
        s.close()
        raise
    return s


def free_ports(n, host="127.0.0.1"):
    """The first of n ports in a row, which are this test's from now on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        first = random.randrange(FIRST, END - n)
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            claims = contextlib.ExitStack()
            held.enter_context(claims)
            for port in range(first, first + n):
                claims.enter_context(_claim(port))
                held.enter_context(socket.socket(family)).bind((host, port))
            _claims.push(claims.pop_all())
            return first
