"""What the process that lists a download and submits its units needs of memory."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# says what a process needed since it began; getrusage would count the test's own memory, from which it was forked
PEAK = """
from pathlib import Path
from medshards.cli import main
try:
    main()
finally:
    line, = (l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
    print(line.split()[1])
"""


def peak(slurm: Path, cases: int) -> int:
    """Most memory in KiB of a `build --engine slurm` of so many cases of Kvasir-SEG; nothing of it begins."""
    (slurm.parent / "bin" / "sbatch").write_text("#!/bin/sh\necho 7\n")
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, "raw"), Path(folder, "out")
        for part in ("images", "masks"):
            place = raw / "kvasir_seg" / "Kvasir-SEG" / part  # as it is unpacked
            place.mkdir(parents=True)
            for number in range(cases):
                (place / f"cju{number:022d}.jpg").touch()
        words = ["build", "kvasir_seg", "--raw", str(raw), "--out", str(out), "--engine", "slurm"]
        line = [sys.executable, "-c", PEAK, *words]
        done = subprocess.run(line, check=True, capture_output=True, text=True, timeout=1500)
    assert f"{cases} cases" in done.stdout
    most = int(done.stdout.split()[-1])
    print(f"{cases} cases: {most} KiB")
    return most


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory of a process")
def test_memory_grows_by_a_kilobyte_a_case(slurm: Path) -> None:
    assert (peak(slurm, 6000) - peak(slurm, 1000)) / 5000 < 1.3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_cases_fit(slurm: Path) -> None:
    assert peak(slurm, 100_000) << 10 < 270e6
