"""When a PET series was corrected for decay, and how long after the injection that is.

The order of the rules is the one that reproduces the PET SUV reference objects
(github.com/oncoray/suv_computation) and real GE and Siemens whole-body scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from medshards.curate.formats.dicom.pet_header import Moment, PetHeader
from medshards.curate.sample import Reject

DAY = 86400.0
SAME_REFERENCE = 2.0  # s; slices of one series must agree on the moment of decay correction
CLOCKS = 60.0  # s; by no more may the clocks of injection and scanner differ
LONG_UPTAKE = 6 * 3600.0  # s; no short-lived tracer is waited for longer
LONG_LIVED = 10 * 3600.0  # s; 64Cu (12.7 h) and longer may be injected on an earlier day
FLUORINE_18 = (6500.0, 6680.0)  # s; 6586.2 and 6588 are both in use


def reference_time(
    headers: Sequence[PetHeader], first: PetHeader, decay: float
) -> tuple[Moment, str, tuple[str, ...]]:
    """The moment to which DecayCorrection START refers.

    SeriesTime comes first because the maker's decay correction goes to it, but a later step may have
    rewritten it: it cannot lie after the first acquisition. A computed moment comes only third, because
    real whole-body scans may carry one AcquisitionTime on all beds.
    """
    starts = [h.acquisition for h in headers if h.acquisition is not None]
    earliest = min(starts, key=lambda m: m.local, default=None)
    if first.series is not None and earliest is None:
        return first.series, "series_time", ("acquisition_time_missing",)
    if first.series is not None and earliest is not None and first.series.local <= earliest.local:
        return first.series, "series_time", ()
    if first.private_reference is not None:
        return first.private_reference, "private_time", ()
    if earliest is None:
        raise Reject("reference_time_missing", "neither series nor acquisition date and time are there")
    if len(starts) == len(headers) and all(h.frame_reference is not None for h in headers):
        moments = [_computed(h, decay) for h in headers]
        if (max(moments) - min(moments)).total_seconds() > SAME_REFERENCE:
            raise Reject(
                "reference_time_inconsistent",
                "acquisition and frame reference times give different slices different decay references",
            )
        return Moment(moments[0], earliest.offset), "computed", ()
    return earliest, "first_acquisition", ("reference_is_first_acquisition",)


def _computed(header: PetHeader, decay: float) -> datetime:
    """Decay reference from one slice: start, plus time to average activity, minus FrameReferenceTime."""
    assert header.acquisition is not None
    assert header.frame_reference is not None
    if header.maker == "ge":  # FrameReferenceTime counts to the start of the frame
        return header.acquisition.local - timedelta(seconds=header.frame_reference)
    if header.duration is None or header.duration <= 0:
        raise Reject(
            "frame_duration_missing",
            "ActualFrameDuration (0018,1242) is missing, the decay time needs it",
        )
    span = decay * header.duration
    average = np.log(span / -np.expm1(-span)) / decay
    return header.acquisition.local + timedelta(seconds=float(average) - header.frame_reference)


def uptake_time(
    headers: Sequence[PetHeader], first: PetHeader, reference: Moment, half_life: float
) -> tuple[float, tuple[str, ...]]:
    """Seconds from injection to `reference`, with flags.

    De-identification often shifts dates but not times of day: for short-lived nuclides a difference of
    more than a day falls back on the times of day.
    Raises: Reject `uptake_implausible`, `injection_after_scan`, `injection_date_missing`, `injection_time_missing`.
    """
    long_lived = half_life >= LONG_LIVED
    flags: list[str] = []
    if first.injection is not None:
        seconds, more = reference.since(first.injection)
        flags += more
        if abs(seconds) > DAY and not (long_lived and seconds > 0):
            if long_lived or seconds % DAY > LONG_UPTAKE:
                raise Reject("uptake_implausible", "more than a day lies between injection and scan")
            seconds, flags = seconds % DAY, [*flags, "dates_shifted"]
    elif first.injection_time is not None:
        if long_lived:
            raise Reject(
                "injection_date_missing", "a long-lived nuclide and no date of injection, only a time of day"
            )
        starts = [h.acquisition.local for h in headers if h.acquisition is not None]
        day = min(starts) if starts else reference.local
        midnight = day.replace(hour=0, minute=0, second=0, microsecond=0)
        injected = Moment(midnight + first.injection_time, reference.offset)
        seconds = reference.since(injected)[0]
        if seconds < 0 <= seconds + DAY <= LONG_UPTAKE:  # injected before midnight, scanned after
            seconds += DAY
        if abs(seconds) > DAY:
            seconds, flags = seconds % DAY, [*flags, "dates_shifted"]
    else:
        raise Reject(
            "injection_time_missing", "neither (0018,1078) nor (0018,1072) tells when the tracer was injected"
        )
    if seconds < -CLOCKS:
        message = (
            f"the tracer was injected {-seconds / 60:.0f} min after the scan began, as the header has it"
        )
        raise Reject("injection_after_scan", message)
    if seconds < 0:
        flags.append("uptake_negative")
    if FLUORINE_18[0] <= half_life <= FLUORINE_18[1] and seconds > LONG_UPTAKE:
        flags.append("uptake_long")
    return seconds, tuple(flags)


def decay_factors_agree(headers: Sequence[PetHeader], reference: Moment, decay: float) -> bool:
    """True when DecayFactor, where present, fits the chosen reference within 1 %.

    It is counted to the frame's start and averaged over the frame (GE), to the frame's moment of average
    activity (Siemens), or fits the acquisition time.
    """
    for h in headers:
        if h.decay_factor is None or h.frame_reference is None or h.duration is None:
            continue
        span = decay * h.duration
        during = span / -np.expm1(-span) if span > 0 else 1.0
        expected = [np.exp(decay * h.frame_reference), np.exp(decay * h.frame_reference) * during]
        if h.acquisition is not None:
            expected.append(np.exp(decay * (h.acquisition.local - reference.local).total_seconds()) * during)
        if not any(abs(h.decay_factor / value - 1) <= 0.01 for value in expected):
            return False
    return True
