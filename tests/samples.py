"""What a converter makes of a download, for tests that expect samples and nothing else."""

from pathlib import Path

from medshards.curate.listing import list_download
from medshards.curate.sample import Intensity, Sample, SlicePosition
from medshards.curate.source import Case, Source


def samples_of(source: Source, case: Case) -> list[Sample]:
    """All samples of a case; a reject or a skip that is handed on in place of one fails the test with its message."""
    samples = []
    for made in source.load(case):
        assert isinstance(made, Sample), made
        samples.append(made)
    return samples


def samples_at(source: Source, root: Path) -> dict[str, Sample]:
    """All samples of the download at `root` by their keys. Raises Reject for the first case that is refused."""
    cases = list_download(source, root).cases
    return {sample.key: sample for case in cases for sample in samples_of(source, case)}


def position_of(sample: Sample) -> SlicePosition:
    """The position of a sample that is a slice."""
    assert sample.position is not None, sample.key
    return sample.position


def intensity_of(sample: Sample) -> Intensity:
    """What the numbers of a 16-bit sample mean."""
    assert sample.intensity is not None, sample.key
    return sample.intensity
