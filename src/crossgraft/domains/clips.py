"""Any audio file to float32 samples at 16 kHz, one channel, in [-1, 1]; and back to a small file or picture.

Channels are averaged; a clip that goes beyond 1, as float files and resampling may, is divided by its peak; silence
stays silence. Of a clip longer than LONGEST seconds the first LONGEST are read, and one sample more, by which the rest
of the program knows that there was more.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from crossgraft.domains.domain import Unreadable
from crossgraft.errors import CrossgraftError

SUFFIXES = frozenset({
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
})  # fmt: skip
RATE = 16_000
LONGEST = 60  # seconds
RATES = (1_000, 1_536_000)  # of files; outside, a header is wrong
STREAMED = 0x7FFFFF00  # sizes from which, and 0, a header says that it was written before its end was known
HOP, SPAN = 160, 400  # of the frames of a picture


def decode(source: str | Path | bytes) -> Float[np.ndarray, " n"]:
    """An audio file (or its bytes) as samples. Raises Unreadable with the reason.

    Wav, flac, ogg, opus, mp3, aiff, au and caf, of any rate, depth and number of channels that libsndfile knows.
    """
    sf = _soundfile()
    with _opened(source, sf) as file:
        rate, frames = file.samplerate, len(file)
        if not RATES[0] <= rate <= RATES[1]:
            raise Unreadable(f"the header gives a rate of {rate} Hz")
        wanted = LONGEST * rate + -(-rate // RATE)
        try:
            sound = file.read(min(frames, wanted) if file.seekable() else wanted, dtype="float32", always_2d=True)
        except (sf.LibsndfileError, RuntimeError) as wrong:
            raise Unreadable(f"the clip is damaged ({_why(wrong)})") from None
        lost = (len(sound) < min(frames, wanted) and file.format == "FLAC") or _cut(source)
    if lost:
        raise Unreadable(f"the clip is cut off (truncated): {len(sound) / rate:.2f} s of it are there")
    return from_samples(sound, rate)


def from_samples(sound: Float[np.ndarray, " n"] | Float[np.ndarray, "n c"], rate: int) -> Float[np.ndarray, " m"]:
    """Samples of any rate and number of channels as `decode` gives them. Raises Unreadable.

    >>> from_samples(np.ones((8, 2), np.float32), 8000).shape
    (16,)
    """
    mono = np.asarray(sound, dtype=np.float32)
    mono = mono.mean(1) if mono.ndim == 2 else mono
    if len(mono) == 0:
        raise Unreadable("the clip has no samples")
    if not np.isfinite(mono).all():
        raise Unreadable("the clip has samples that are NaN or infinite")
    if rate != RATE:
        try:
            import soxr
        except ImportError:
            raise _missing("soxr") from None
        mono = soxr.resample(mono, rate, RATE)
        if len(mono) == 0:
            raise Unreadable("the clip is shorter than a sample")
    mono = mono[: LONGEST * RATE + 1]
    peak = float(np.abs(mono).max())
    return np.ascontiguousarray(mono / peak if peak > 1 else mono, dtype=np.float32)


def encode(samples: Float[np.ndarray, " n"]) -> bytes:
    """A 16-bit wav file of samples at 16 kHz."""
    out = io.BytesIO()
    _soundfile().write(out, samples, RATE, format="WAV", subtype="PCM_16")
    return out.getvalue()


def portrait(samples: Float[np.ndarray, " n"], width: int = 160, height: int = 64) -> UInt8[np.ndarray, "H W 3"]:
    """What a clip looks like: its spectrogram, 0 to 8 kHz upwards on the mel scale, 80 dB from black to white."""
    sound = np.pad(samples, (0, max(SPAN - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(sound, SPAN)[::HOP]
    at = np.linspace(0, len(frames), width + 1).astype(int)
    power = np.abs(np.fft.rfft(frames[np.unique(at[:-1])] * np.hanning(SPAN), 1024)) ** 2
    mel = 700 * (10 ** (np.linspace(0, 2840, height + 1) / 2595) - 1)  # 2840 mel are 8 kHz
    edges = np.round(mel / (RATE / 2) * (power.shape[1] - 1)).astype(int)
    bands = [power[:, a : max(b, a + 1)].mean(1) for a, b in pairwise(edges)]
    decibels = 10 * np.log10(np.maximum(np.array(bands), 1e-10))
    grey = np.clip((decibels - decibels.max()) / 80 + 1, 0, 1) * 255
    columns = np.searchsorted(np.unique(at[:-1]), at[:-1])
    picture = grey[::-1][:, columns].astype(np.uint8)
    return np.repeat(picture[:, :, None], 3, axis=2)


def coarse(samples: Shaped[np.ndarray, " n"], parts: int = 8, bands: int = 16) -> Float[np.ndarray, " D"]:
    """Decibels in bands that grow by octaves, of equal parts of a clip's time, less their mean: (parts * bands,).

    >>> coarse(np.zeros(10)).shape
    (128,)
    """
    x = np.asarray(samples, dtype=np.float64)
    x = np.pad(x - (x.mean() if len(x) else 0), (0, max(parts * 64 - len(x), 0)))
    edges = np.unique(np.round(np.geomspace(2, 257, bands + 1)).astype(int))
    out = np.zeros((parts, bands))
    for row, part in zip(out, np.array_split(x, parts), strict=True):
        n = 512 * -(-len(part) // 512)
        power = (np.abs(np.fft.rfft(np.pad(part, (0, n - len(part))).reshape(-1, 512))) ** 2).mean(0)
        row[: len(edges) - 1] = 10 * np.log10([power[a:b].mean() + 1e-6 for a, b in pairwise(edges)])
    flat: np.ndarray = (out - out.mean()).ravel().astype(np.float32)
    return flat


def _opened(source: str | Path | bytes, sf: Any) -> Any:
    """libsndfile's view of a file."""
    try:
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        if size == 0:
            raise Unreadable("the file is empty (0 bytes)")
        return sf.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except FileNotFoundError:
        raise Unreadable("the file is missing") from None
    except OSError as wrong:
        raise Unreadable(f"the file cannot be opened ({wrong.strerror or wrong})") from None
    except (sf.LibsndfileError, RuntimeError, TypeError) as wrong:  # TypeError: a name that says "raw"
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            head = file.read(4)
        known = head[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM", b"RF64", b".snd", b"caff") or head[:3] == b"ID3"
        what = f"the clip is damaged ({_why(wrong)})" if known else "the file is no audio of a known format"
        raise Unreadable(what) from None


def _cut(source: str | Path | bytes) -> bool:
    """Whether a wav file ends before the samples that its header promises; libsndfile reads what is there."""
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if file.read(12)[:4] != b"RIFF":
            return False
        while len(head := file.read(8)) == 8:
            promised = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                return 0 < promised < STREAMED and file.tell() + promised > size + 1  # an odd size may lack its padding
            file.seek(promised + promised % 2, io.SEEK_CUR)
    return False


def _why(wrong: Exception) -> str:
    return str(getattr(wrong, "error_string", wrong)).strip().rstrip(".")[:100]


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package without its library
        raise _missing("soundfile") from None
    return soundfile


def _missing(package: str) -> CrossgraftError:
    return CrossgraftError(f"audio needs the package {package}", f"pip install {package}")
