"""What is wrong with the bytes of a picture, and how large a picture may be."""

from __future__ import annotations

MAX_PIXELS = 1 << 27  # asked of the header, before anything is allocated


class PictureError(ValueError):
    """Bytes that are no picture that can be read. code: that of the Reject, `unreadable` or `too_large`."""

    def __init__(self, message: str, code: str = "unreadable") -> None:
        super().__init__(message)
        self.code = code


def check_pixels(width: int, height: int, error: type[PictureError] = PictureError) -> None:
    """Raise `error` for a picture without pixels, or (`too_large`) with more than 134,217,728 of them."""
    if width * height < 1:
        raise error(f"damaged: the header claims {width} x {height} px")
    if width * height > MAX_PIXELS:
        raise error(f"the header claims {width} x {height} px; at most {MAX_PIXELS:,} are read", "too_large")
