"""Any picture, as a file or as an array, to uint8 (H, W, 3) in RGB; and back to a small JPEG for the report.

Grey becomes three equal channels; transparency is laid on white; EXIF rotation is applied; of an animation the first
frame counts. More than 8 bits: white is the highest value of the smallest usual depth (8, 10, 12, 14 or 16 bits) that
holds the picture's maximum, so that a 12-bit scan in a 16-bit file is not black.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from crossgraft.domains.digest import file_bytes
from crossgraft.domains.domain import Unreadable

if TYPE_CHECKING:
    from PIL import Image as Pillow

DEPTHS = (255, 1023, 4095, 16383, 65535)
ORIENTATION = 0x0112


def decode(source: str | Path | bytes, at_least: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """A picture file (or its bytes) in RGB. Raises Unreadable with the reason.

    With `at_least`, a JPEG at least twice as large is decoded smaller (by 2, 4 or 8, in the frequency domain), both
    sides no shorter than `at_least`.
    """
    data = file_bytes(source)
    if not data:
        raise Unreadable("the file is empty (0 bytes)")
    from PIL import Image, UnidentifiedImageError

    _quiet()
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return _rgb(picture, data, at_least)
    except UnidentifiedImageError:
        raise Unreadable(_unknown(data)) from None
    except Image.DecompressionBombError:
        raise Unreadable("the picture claims more pixels than Pillow's limit; it may be a decompression bomb") from None
    except Unreadable:
        raise
    except Exception as wrong:  # decoders raise whatever they like on broken bytes
        cut = "truncated" in str(wrong).lower() or isinstance(wrong, EOFError)
        raise Unreadable("the picture is cut off (truncated)" if cut else f"the picture is damaged ({wrong})") from None


def from_array(array: np.ndarray, white: float | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """(H, W), (1|3, H, W) or (H, W, 1|3|4) of any real type in RGB. Raises Unreadable.

    white   the value of white; by default 255 for uint8, 1 for bool and for floats up to 1, else the depth

    >>> from_array(np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise Unreadable(f"an array of shape {tuple(np.shape(array))} is no picture")
    pixels = _eight_bits(pixels, white)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def white_of(values: np.ndarray, whole: bool = False) -> float:
    """The value that stands for white. `whole`: the values are a whole data set's, so that 0 to 16 is a range too."""
    if values.dtype == np.uint8:
        return 255.0
    if values.dtype == bool:
        return 1.0
    top = float(np.nanmax(values, initial=0.0, where=np.isfinite(values)))
    steps = (1, 16, *DEPTHS) if whole else (1, *DEPTHS) if values.dtype.kind == "f" else DEPTHS
    return next((float(step) for step in steps if top <= step), top)


def thumbnail(array: UInt8[np.ndarray, "H W 3"], size: int) -> bytes:
    """A JPEG whose longer side is at most `size` pixels."""
    from PIL import Image

    picture = Image.fromarray(array)
    picture.thumbnail((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()


def _rgb(picture: Pillow.Image, data: bytes, at_least: int | None) -> UInt8[np.ndarray, "H W 3"]:
    if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
        turn = picture.getexif().get(ORIENTATION, 1)
        pixels = _jpeg(data, at_least)
        if pixels is not None:
            return _turned(pixels, turn)
    return from_pillow(picture)


def from_pillow(picture: Pillow.Image) -> UInt8[np.ndarray, "H W 3"]:
    """A Pillow picture of any mode in RGB: turned upright, transparency on white."""
    from PIL import Image, ImageOps

    upright: Pillow.Image = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        return from_array(np.asarray(upright))
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        clear = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return np.array(upright.convert("RGB"))


def _jpeg(data: bytes, at_least: int | None) -> UInt8[np.ndarray, "H W 3"] | None:
    """The fast path; None where the strict decoder objects: Pillow then bears oddities, but not truncation."""
    import simplejpeg

    try:
        if at_least is None:
            pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
        else:
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=at_least, min_width=at_least, min_factor=2)
    except ValueError:
        return None
    return pixels


def _turned(pixels: UInt8[np.ndarray, "H W 3"], orientation: int) -> UInt8[np.ndarray, "h w 3"]:
    """EXIF orientation 1 to 8 undone: 5 to 8 swap the axes; then rows and columns are mirrored where it says so."""
    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _eight_bits(pixels: np.ndarray, white: float | None) -> np.ndarray:
    if pixels.dtype.kind not in "buif":
        raise Unreadable(f"an array of type {pixels.dtype} is no picture")
    if pixels.dtype == np.uint8 and white in (None, 255.0):
        return pixels
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Unreadable("the picture has values that are NaN or infinite")
    if pixels.dtype.kind in "if" and pixels.min() < 0:
        raise Unreadable("the picture has values below 0; give it before it is normalised")
    white = white or white_of(pixels)
    return np.rint(np.minimum(pixels.astype(np.float64) * (255 / white), 255)).astype(np.uint8)


@cache
def _quiet() -> None:
    """Pillow warns of pictures at half the size that it refuses, and of odd EXIF. Once: filters are not thread-safe."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _unknown(data: bytes) -> str:
    head = data[:512]
    text = all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head)
    return "the file is text, not a picture" if text else "the file is no picture of a known format"
