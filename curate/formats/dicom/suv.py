"""From PET headers to SUVbw (body-weight standardised uptake value, g/ml). Arithmetic only, no pixels.

SUVbw = A[Bq/ml] · weight[kg] · 1000 / (dose[Bq] · 2^(−(t_ref − t_inj)/T½)), A = stored · slope + intercept,
t_ref = the moment to which the scanner corrected for decay. The rules for t_ref and for values that are
already an SUV of another kind are those of the PET SUV reference objects (OncoRay, "SUV computation",
github.com/oncoray/suv_computation); each stands beside its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.dicom.pet_decay import decay_factors_agree, reference_time, uptake_time
from medshards.curate.formats.dicom.pet_header import PetHeader
from medshards.curate.sample import Reject

MAX_SUV_P999 = 200.0  # 99.9th percentile above which numbers are Bq/ml and not SUV
THIN = 4
HALF_LIFE_TOLERANCE = 0.05
USABLE_UNITS = ("BQML", "GML", "CM2ML", "CNTS")
_OTHER_UNITS = ("CPS", "PROPCNTS", "PROPCPS", "1CM")


@dataclass(frozen=True, eq=False)
class SuvScale:
    """SUVbw of slice k = (stored · slope + intercept) · factors[k].

    factors: float64, one per header given.
    reference: how the decay reference was found: `series_time`, `private_time`, `computed`,
        `first_acquisition`, `administration`, `undecayed`, or `stored` when the file holds an SUV.
    flags: what was assumed or looks odd.
    """

    factors: NDArray[np.float64] = field(repr=False)
    reference: str
    flags: tuple[str, ...]


def suv_scale(headers: Sequence[PetHeader]) -> SuvScale:
    """Factors from rescaled values to SUVbw, one per slice of one series.

    Raises: Reject with one of the codes `not_attenuation_corrected`, `not_decay_corrected`,
    `decay_correction_missing`, `pet_intercept`, `header_inconsistent`, `units_unsupported`,
    `suv_type_unsupported`, `philips_factors_missing`, `weight_missing`, `height_missing`, `sex_missing`,
    `mass_implausible`, `several_radiopharmaceuticals`, `dose_missing`, `dose_invalid`,
    `half_life_missing`, `half_life_contradicts_nuclide`, `injection_after_scan`,
    `frame_duration_missing`, `injection_time_missing`, `injection_date_missing`,
    `uptake_implausible`, `reference_time_missing`, `reference_time_inconsistent`.
    """
    if not headers:
        raise Reject("header_inconsistent", "a PET series without slices")
    first = headers[0]
    if len({h.constants() for h in headers}) > 1:
        raise Reject(
            "header_inconsistent", "slices of one series differ in units, dose, weight or corrections"
        )
    if first.units not in USABLE_UNITS:
        found = first.units if first.units in _OTHER_UNITS else "missing or not a defined term"
        raise Reject("units_unsupported", f"Units (0054,1001) is {found}; expected {', '.join(USABLE_UNITS)}")
    if "ATTN" not in first.corrected:
        raise Reject("not_attenuation_corrected", "(0028,0051) does not list ATTN; use the corrected series")
    if any(h.intercept != 0 for h in headers):
        raise Reject("pet_intercept", "RescaleIntercept is not 0, which PET does not allow")
    first, flags = _decay_correction(first)
    count = len(headers)
    match first.units:
        case "BQML":
            return _from_activity(headers, first, np.ones(count), flags)
        case "GML":
            factor, more = _stored_suv(first)
            return SuvScale(np.full(count, factor), "stored", (*flags, *more))
        case "CM2ML":
            weight, more = _weight(first)
            height = _height(first)
            area = 0.007184 * weight**0.425 * height**0.725  # m², Du Bois and Du Bois 1916
            return SuvScale(np.full(count, weight * 1000 / (area * 1e4)), "stored", (*flags, *more))
        case "CNTS":
            if all(h.philips_suv for h in headers):
                return SuvScale(np.array([h.philips_suv for h in headers], float), "stored", flags)
            if all(h.philips_activity for h in headers):
                activity = np.array([h.philips_activity for h in headers], float)
                return _from_activity(headers, first, activity, flags)
            raise Reject(
                "philips_factors_missing",
                "units are counts; neither SUV factor (7053,xx00) nor activity factor (7053,xx09) is there",
            )
    raise AssertionError("units were checked above")


def top_of(values: NDArray[Any]) -> float:
    """The 99.9th percentile of a volume (D×H×W), by every 4th voxel along each axis."""
    return float(np.percentile(values[::THIN, ::THIN, ::THIN], 99.9))


def check_suv_range(values: NDArray[Any]) -> None:
    """Refuse numbers (D×H×W) that cannot be SUV (an activity image in Bq/ml looks like SUV · 1,000 to 10,000).

    Raises: Reject `not_suv` when the 99.9th percentile exceeds 200.
    """
    top = top_of(values)
    if top > MAX_SUV_P999:
        raise Reject(
            "not_suv",
            f"the 99.9th percentile is {top:.3g}, above {MAX_SUV_P999:.0f}: no SUV (Bq/ml, or a wrong dose or time)",
        )


def _decay_correction(header: PetHeader) -> tuple[PetHeader, tuple[str, ...]]:
    corrected = "DECY" in header.corrected
    if not header.decay_correction and corrected:
        return replace(header, decay_correction="START"), ("decay_correction_assumed_start",)
    if header.decay_correction not in ("START", "ADMIN", "NONE"):
        raise Reject("decay_correction_missing", "DecayCorrection (0054,1102) is not START, ADMIN or NONE")
    if not corrected and header.decay_correction != "NONE":
        raise Reject(
            "not_decay_corrected", "(0028,0051) does not list DECY, DecayCorrection says it was done"
        )
    return header, ()


def _weight(header: PetHeader) -> tuple[float, tuple[str, ...]]:
    """Weight in kg. A missing weight is never replaced by a usual one."""
    weight = header.weight
    if weight is None or weight <= 0:
        raise Reject("weight_missing", "PatientWeight (0010,1030) is missing or 0: no SUV, only Bq/ml")
    flags: tuple[str, ...] = ()
    if weight > 1000:
        weight, flags = weight / 1000, ("weight_in_grams",)
    if not 2 <= weight <= 350:
        flags = (*flags, "weight_unusual")
    return weight, flags


def _height(header: PetHeader) -> float:
    """Height in cm; the standard's unit is m, values above 3 are cm already."""
    if header.height is None or header.height <= 0:
        raise Reject(
            "height_missing", "PatientSize (0010,1020) is missing or 0; the stored kind of SUV needs it"
        )
    return header.height if header.height > 3 else header.height * 100


def _stored_suv(header: PetHeader) -> tuple[float, tuple[str, ...]]:
    """Factor from a stored SUV (Units GML) to SUVbw: weight over the mass it was normalised with."""
    kind = header.suv_type
    if kind in ("", "BW"):
        return 1.0, ()
    if kind not in ("LBM", "LBMJAMES128", "LBMJANMA", "IBW"):
        raise Reject(
            "suv_type_unsupported", "SUVType (0054,1006) is not BW, LBM, LBMJAMES128, LBMJANMA or IBW"
        )
    w, flags = _weight(header)
    h = _height(header)
    if header.sex not in ("M", "F", "O"):
        raise Reject(
            "sex_missing", "PatientSex (0010,0040) is not M, F or O; the stored kind of SUV needs it"
        )
    ratio, bmi = (w / h) ** 2, w / (h / 100) ** 2
    male, female = {
        "LBM": (1.10 * w - 120 * ratio, 1.07 * w - 148 * ratio),  # Morgan
        "LBMJAMES128": (1.10 * w - 128 * ratio, 1.07 * w - 148 * ratio),  # James
        "LBMJANMA": (9270 * w / (6680 + 216 * bmi), 9270 * w / (8780 + 244 * bmi)),  # Janmahasatian
        "IBW": (48.0 + 1.06 * (h - 152), 45.5 + 0.91 * (h - 152)),  # ideal body weight
    }[kind]
    mass = {"M": male, "F": female, "O": (male + female) / 2}[header.sex]
    if mass <= 0:
        raise Reject("mass_implausible", "weight and height give a normalising mass that is not positive")
    return w / mass, flags


def _from_activity(
    headers: Sequence[PetHeader], first: PetHeader, activity: NDArray[np.float64], flags: tuple[str, ...]
) -> SuvScale:
    """Factors when `activity` turns rescaled values into Bq/ml."""
    weight, more = _weight(first)
    flags += more
    dose, more = _dose(first)
    flags += more
    undecayed = activity * weight * 1000 / dose
    if first.decay_correction == "ADMIN":
        return SuvScale(undecayed, "administration", flags)
    half_life = first.half_life
    if half_life is None or half_life <= 0:
        raise Reject(
            "half_life_missing", "RadionuclideHalfLife (0018,1075) is missing and the nuclide is not known"
        )
    usual = first.usual_half_life
    if usual is not None and abs(half_life / usual - 1) > HALF_LIFE_TOLERANCE:
        message = (
            f"RadionuclideHalfLife (0018,1075) is {half_life:g} s; the nuclide that is named has {usual:g} s"
        )
        raise Reject("half_life_contradicts_nuclide", message)
    decay = np.log(2) / half_life
    if first.decay_correction == "NONE":
        starts = [h.acquisition for h in headers]
        if any(h.duration is None or h.duration <= 0 for h in headers):
            raise Reject(
                "frame_duration_missing",
                "ActualFrameDuration (0018,1242) is missing, uncorrected PET needs it",
            )
        known = [s for s in starts if s is not None]
        if len(known) < len(starts):
            raise Reject("reference_time_missing", "slices have no acquisition date and time")
        reference = min(known, key=lambda m: m.local)
        uptake, more = uptake_time(headers, first, reference, half_life)
        after = np.array([(s.local - reference.local).total_seconds() for s in known])
        spans = decay * np.array([h.duration for h in headers], float)
        # decay during the frame, then back to the injection
        factors = undecayed * spans / -np.expm1(-spans) * np.exp(decay * (uptake + after))
        return SuvScale(factors, "undecayed", (*flags, *more))
    reference, how, more = reference_time(headers, first, decay)
    flags += more
    uptake, more = uptake_time(headers, first, reference, half_life)
    flags += more
    if not decay_factors_agree(headers, reference, decay):
        flags += ("decay_factor_mismatch",)
    return SuvScale(undecayed * np.exp(decay * uptake), how, flags)


def _dose(header: PetHeader) -> tuple[float, tuple[str, ...]]:
    """Injected dose in Bq; below 1e5 it was written in MBq."""
    if header.tracers > 1:
        raise Reject(
            "several_radiopharmaceuticals",
            "more than one radiopharmaceutical is listed",
        )
    if header.dose is None:
        raise Reject("dose_missing", "RadionuclideTotalDose (0018,1074) is missing")
    if header.dose <= 0:
        raise Reject("dose_invalid", "RadionuclideTotalDose (0018,1074) is zero or negative")
    return (header.dose, ()) if header.dose >= 1e5 else (header.dose * 1e6, ("dose_in_mbq",))
