"""Child processes that end with their parent: Linux otherwise lets them live on after a SIGKILL."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal a child gets when its parent dies


def end_with(parent_pid: int) -> None:
    """To be called by the child: from now on it is killed when its parent dies.

    Elsewhere than on Linux nothing does this.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        os._exit(128 + signal.SIGKILL)
