"""What a PET slice's header says about units, dose and time, as plain numbers.

The values stay inside: `repr` shows none of them, since weight, dates and times belong to a patient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.tags import number, private, text, texts

# RadionuclideHalfLife in s by code (SNOMED RT as in CID 4020, and SNOMED CT)
HALF_LIFE = {
    **dict.fromkeys(("C-111A1", "77004003"), 6586.2),  # 18F
    **dict.fromkeys(("C-131A3", "35337001"), 4057.7),  # 68Ga
    **dict.fromkeys(("C-105A1", "40565003"), 1223.0),  # 11C
    **dict.fromkeys(("C-107A1", "21576001"), 598.0),  # 13N
    **dict.fromkeys(("C-168A4", "63360001"), 282240.0),  # 89Zr
    **dict.fromkeys(("C-127A2", "3932008"), 45720.0),  # 64Cu
}
_TM = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(\.\d{1,6})?)?)?")
_DT = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)([+-]\d{4})?")


@dataclass(frozen=True, repr=False)
class Moment:
    """A local date and time, with its offset from UTC where one is known."""

    local: datetime
    offset: timedelta | None = None

    def since(self, other: Moment) -> tuple[float, tuple[str, ...]]:
        """Seconds from `other` to this; an offset known on one side only is ignored on both, and flagged."""
        seconds = (self.local - other.local).total_seconds()
        if self.offset is not None and other.offset is not None:
            return seconds - (self.offset - other.offset).total_seconds(), ()
        one_sided = self.offset is not None or other.offset is not None
        return seconds, ("utc_offset_ignored",) if one_sided else ()


@dataclass(frozen=True, repr=False)
class PetHeader:
    """One PET slice's header.

    Seconds: half_life (as written, else the nuclide's), usual_half_life (of the nuclide that is named), duration,
    frame_reference. Bq: dose as written. kg: weight as written; height as
    written (m or cm). injection_time is a time of day. private_reference is the maker's own moment of
    decay correction. None: absent or not readable.
    """

    units: str
    suv_type: str
    decay_correction: str
    corrected: frozenset[str]
    maker: str  # `ge`, `siemens`, `philips` or `other`
    slope: float
    intercept: float
    weight: float | None
    height: float | None
    sex: str
    tracers: int
    dose: float | None
    half_life: float | None
    usual_half_life: float | None
    injection: Moment | None
    injection_time: timedelta | None
    series: Moment | None
    acquisition: Moment | None
    private_reference: Moment | None
    frame_reference: float | None
    duration: float | None
    decay_factor: float | None
    philips_suv: float | None
    philips_activity: float | None

    def constants(self) -> tuple[object, ...]:
        """The values that one series must share."""
        return (
            *(self.units, self.suv_type, self.decay_correction, self.corrected),
            *(self.weight, self.height, self.sex),
            *(self.tracers, self.dose, self.half_life, self.injection, self.injection_time),
        )

    @classmethod
    def of(cls, ds: Dataset) -> PetHeader:
        """Read from a classic (single-frame) PET object."""
        sequence = ds.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
        tracer = sequence[0]
        offset = _offset(text(ds, "TimezoneOffsetFromUTC"))
        return cls(
            units=text(ds, "Units"),
            suv_type=text(ds, "SUVType"),
            decay_correction=text(ds, "DecayCorrection"),
            corrected=frozenset(texts(ds, "CorrectedImage")),
            maker=_maker(text(ds, "Manufacturer")),
            slope=_or(number(ds, "RescaleSlope"), 1.0),
            intercept=_or(number(ds, "RescaleIntercept"), 0.0),
            weight=number(ds, "PatientWeight"),
            height=number(ds, "PatientSize"),
            sex=text(ds, "PatientSex"),
            tracers=len(sequence),
            dose=number(tracer, "RadionuclideTotalDose"),
            half_life=_stated_half_life(tracer) or _usual_half_life(tracer),
            usual_half_life=_usual_half_life(tracer),
            injection=parse_dt(text(tracer, "RadiopharmaceuticalStartDateTime"), offset),
            injection_time=parse_tm(text(tracer, "RadiopharmaceuticalStartTime")),
            series=_moment(ds, "Series", offset),
            acquisition=_moment(ds, "Acquisition", offset),
            private_reference=_private_reference(ds, offset),
            frame_reference=_seconds(number(ds, "FrameReferenceTime")),
            duration=_seconds(number(ds, "ActualFrameDuration")),
            decay_factor=number(ds, "DecayFactor"),
            philips_suv=_float(private(ds, 0x7053, 0x00, "PHILIPS PET PRIVATE GROUP")),
            philips_activity=_float(private(ds, 0x7053, 0x09, "PHILIPS PET PRIVATE GROUP")),
        )


def parse_tm(value: str) -> timedelta | None:
    """Time of day from a DICOM TM: HH, HHMM, HHMMSS or HHMMSS.f…; None when it is not one."""
    found = _TM.fullmatch(value)
    if not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.group(1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + float(found.group(4) or 0))


def parse_dt(value: str, offset: timedelta | None = None) -> Moment | None:
    """Moment from a DICOM DT with at least date and hour; `offset` holds where it has none itself."""
    found = _DT.fullmatch(value)
    if not found:
        return None
    day, time = _day(found.group(1)), parse_tm(found.group(2))
    if day is None or time is None:
        return None
    own = _offset(found.group(3) or "")
    return Moment(day + time, offset if own is None else own)


def _day(value: str) -> datetime | None:
    try:
        return datetime.strptime(value.replace(".", ""), "%Y%m%d")
    except ValueError:
        return None


def _offset(value: str) -> timedelta | None:
    if not re.fullmatch(r"[+-]\d{4}", value):
        return None
    size = timedelta(hours=int(value[1:3]), minutes=int(value[3:5]))
    return -size if value[0] == "-" else size


def _moment(ds: Dataset, kind: str, offset: timedelta | None) -> Moment | None:
    day, time = _day(text(ds, f"{kind}Date")), parse_tm(text(ds, f"{kind}Time"))
    return None if day is None or time is None else Moment(day + time, offset)


def _private_reference(ds: Dataset, offset: timedelta | None) -> Moment | None:
    ge = private(ds, 0x0009, 0x0D, "GEMS_PETD_01")
    siemens = private(ds, 0x0071, 0x22, "SIEMENS MED PT")
    return parse_dt(ge, offset) or parse_dt(siemens, offset)


def _maker(name: str) -> str:
    if name.startswith("GE ") or name.startswith("GEMS") or name == "GE" or "GENERAL ELECTRIC" in name:
        return "ge"
    return next((maker for maker in ("siemens", "philips") if maker.upper() in name), "other")


def _stated_half_life(tracer: Dataset) -> float | None:
    stated = number(tracer, "RadionuclideHalfLife")
    return stated if stated is not None and stated > 0 else None


def _usual_half_life(tracer: Dataset) -> float | None:
    codes = tracer.get("RadionuclideCodeSequence") or [Dataset()]
    return HALF_LIFE.get(text(codes[0], "CodeValue"))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
