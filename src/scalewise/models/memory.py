"""Keep freed memory in the process between steps.

Every step frees arrays of megabytes and allocates the same sizes again. By default the C library
returns such blocks to the operating system at once, which clears all pages at the next allocation.
This takes a quarter of the time of a compiled training step (benchmarks/speed.py --system-memory),
and of the evaluation of 20,000 atoms.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

#: Options of mallopt, from malloc.h of the GNU C library.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
#: Blocks up to this come from the heap, bytes, and what is free of it stays, however much it is.
LARGEST: Final = 1 << 30
NEVER: Final = -1
#: The heap grows by this much at a time, bytes.
GROWTH: Final = 1 << 26


@cache
def keep_freed_memory() -> bool:
    """Keep freed memory for the next step; False without the GNU C library.

    It counts for the whole process, once and for all: it keeps as much as it ever needed at a time.
    Results do not depend on it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    options = ((MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, NEVER), (TOP_PAD, GROWTH))
    done = [mallopt(option, value) for option, value in options]
    return all(result == 1 for result in done)
