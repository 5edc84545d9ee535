"""Time and memory of a whole-body PET/CT pair, against reading the same series with pydicom alone.

    python -m benchmarks.volumes [--slices 700] [--pet-side 400] [--ct-side 512] [--repeats 3]

A synthetic pair is written once: a PET in Bq/ml with a slope of its own in every slice, a CT on its own grid, and a
label map of 13 organs. Each row runs in a process of its own; memory is the greatest resident size of that process.

    read, pydicom       dcmread and pixel_array of every file, in order of name; nothing else
    read, this project  the same files sorted by geometry, as SUVbw and HU in two volumes
    convert             the same, CT resampled to the PET, masks, and every slice of both encoded for the shards
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROWS = {"pydicom": "read, pydicom", "read": "read, this project", "convert": "convert"}
ORGANS = ("brain", "lung", "heart", "aorta", "liver", "spleen", "left kidney", "right kidney", "colon",
          "urinary bladder", "esophagus", "stomach", "pancreas")  # fmt: skip


def write_pair(root: Path, slices: int, pet_side: int, ct_side: int) -> None:
    """A study in DICOM with its label map in NIfTI."""
    import nibabel as nib

    from medshards.curate.phantoms.bodies import dicom

    rng = np.random.default_rng(0)
    folder = root / "patient" / "study"
    width = 700.0  # mm
    for modality, series, side in (("PT", 1, pet_side), ("CT", 2, ct_side)):
        rows, columns = np.mgrid[:side, :side] / side - 0.5
        body = (rows / 0.2) ** 2 + (columns / 0.3) ** 2 < 1
        noise = rng.normal(0, 1, (4, side, side))
        for k in range(slices):
            if modality == "PT":
                values = np.where(body, 2.0, 0.05) * np.exp(0.2 * noise[k % 4]) * (1 + k / slices)
                ds = dicom.pet_slice("P1", series, k, values)
            else:
                ds = dicom.slice_of(
                    "CT", "P1", series, k, np.where(body, 40, -1000) + np.rint(10 * noise[k % 4])
                )
            spacing = width / side
            ds.PixelSpacing, ds.SliceThickness = [spacing, spacing], 1.5
            ds.ImagePositionPatient = [-(width - spacing) / 2, -(width - spacing) / 2, 1.5 * k]
            dicom.save(ds, folder / modality / f"{k:04d}.dcm")
    labels = np.zeros((slices, pet_side, pet_side), np.uint8)
    block, across = slices // 13, pet_side // 4
    for number in range(len(ORGANS)):
        labels[
            number * block : (number + 1) * block + block // 2, across : 3 * across, across : 3 * across
        ] = number + 1
    spacing = width / pet_side
    affine = np.diag([-spacing, -spacing, 1.5, 1.0])
    affine[:2, 3] = (width - spacing) / 2
    nib.save(nib.Nifti1Image(labels.T, affine), folder / "labels.nii.gz")
    table = {str(n): name for n, name in enumerate(ORGANS, start=1)}
    (folder / "labels.json").write_text(json.dumps(table))


def read_plainly(root: Path) -> int:
    """All pixels of all files with pydicom; returns the number of files."""
    import pydicom

    paths = sorted(root.rglob("*.dcm"))
    arrays = [pydicom.dcmread(path).pixel_array for path in paths]
    return len(arrays)


def read_volumes(root: Path) -> int:
    """PET as SUVbw and CT as HU."""
    from medshards.curate.formats.dicom.series import scan
    from medshards.curate.formats.dicom.stack import read_suv, read_volume
    from medshards.curate.tree import File

    found = scan(File(path.name, path) for path in sorted(root.rglob("*.dcm")))
    volumes = [read_suv(found.only("PT")), read_volume(found.only("CT"))]
    return sum(len(volume.array) for volume in volumes)


def convert(root: Path) -> int:
    """Every step of a build but writing the shards; returns the number of samples."""
    from medshards.curate.catalog.entry import load_catalog
    from medshards.curate.listing import list_download
    from medshards.curate.sample import Sample
    from medshards.curate.source import get_source
    from medshards.shards.encode.policy import Making, Policy
    from medshards.shards.encode.record import Origin, encode
    from medshards.vocab.vocabulary import Vocabulary

    source = get_source("umd_petct")
    policy = Policy.of(load_catalog()["umd_petct"], Making(), source.labels, Vocabulary.load())
    count = 0
    for case in list_download(source, root).cases:
        origin: list[Origin] = [
            {"role": role, "file": file.name, "sha256": ""} for role, file in case.files.items()
        ]
        for item in source.load(case):
            if isinstance(item, Sample):
                encode(item, policy, origin)
                count += 1
    return count


def measure(what: str, root: Path) -> tuple[int, float, float, float]:
    """(slices, seconds, CPU seconds, greatest memory in GB) of one step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.volumes", "--step", what, "--root", str(root)]
    environment = {**os.environ, "MEDSHARDS_KEY_FILE": str(root.parent / "key"), "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    count, *figures = output.split()
    seconds, cpu, memory = (float(figure) for figure in figures)
    return int(count), seconds, cpu, memory


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=700)
    parser.add_argument("--pet-side", type=int, default=400)
    parser.add_argument("--ct-side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--step", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        steps = {"pydicom": read_plainly, "read": read_volumes, "convert": convert}
        start = time.perf_counter()
        count = steps[args.step](args.root)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(count, time.perf_counter() - start, time.process_time(), memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "umd_petct"
        write_pair(root, args.slices, args.pet_side, args.ct_side)
        table = Table(
            "step", "slices", "seconds", "CPU seconds", "slices per CPU second", "greatest memory GB"
        )
        for what, title in ROWS.items():
            runs = [measure(what, root) for _ in range(args.repeats)]
            seconds, cpu = (statistics.median(run[k] for run in runs) for k in (1, 2))
            count, memory = runs[0][0], max(run[3] for run in runs)
            figures = (f"{seconds:.2f}", f"{cpu:.2f}", f"{count / cpu:.0f}", f"{memory:.2f}")
            table.add_row(title, f"{count}", *figures)
        size = f"{args.slices} PET slices of {args.pet_side}² and CT slices of {args.ct_side}²"
        table.caption = f"{size}; medians of {args.repeats}"
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
