"""Memory that nobody needs any more, back to the system."""

import ctypes


def give_back() -> None:
    """Has the C library return what was freed.

    The compiler frees some 500 MB for a network of full width, and glibc would hold it for as long
    as the process lives, beside the memory of the training step. Other C libraries need no word.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
