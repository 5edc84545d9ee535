"""Memory that is freed is used again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from medshards.common.memory import keep_freed
keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), *(faults() for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told to keep memory")
def test_the_same_memory_is_not_faulted_in_twice() -> None:
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    first, *again = map(int, run.stdout.split())
    assert max(again) < 64 < first
