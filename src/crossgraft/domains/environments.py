"""Places that a clip may be heard in: noise, rooms, telephones. Each is a pure function of samples and a seed.

A spec names one or several, in the order in which they are applied: `noise:10dB`, `reverb:0.5s+noise:0dB`. Behind a
path, `digits.csv?env=telephone` is the domain of the same clips heard there; as an augmentation see `solve/augment.py`.

    noise:SNR[:white|pink|FOLDER]  noise of a signal-to-noise ratio in dB, over the whole clip; or of a folder of clips
    reverb:RT60[:FOLDER]           a room whose sound falls by 60 dB in RT60 seconds; or a response from a folder
    telephone                      300 to 3,400 Hz, 8 kHz, 8 bits of mu-law
    clipping:SHARE                 cut off at a share of the peak
    speed:FACTOR                   faster (above 1) and higher, or slower and lower
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.domains.clips import RATE, decode
from crossgraft.domains.domain import SOUND, Domain, Unreadable
from crossgraft.domains.sorts import CLIPS
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.seeds import rng

Samples = Float[np.ndarray, " n"]
MU = 255  # of the mu-law (ITU-T G.711)
BAND = (300.0, 3400.0)  # Hz that a telephone lets through
MARK = "?env="


def noise(x: Samples, seed: int, snr: float, colour: str = "white") -> Samples:
    """Noise whose power is `snr` decibels below the clip's, added. Silence stays silence.

    colour  white; pink, whose power falls by 3 dB an octave; or a folder of clips, one drawn and begun at random
    """
    draw = rng(seed, "noise")
    if colour in ("white", "pink"):
        added = draw.standard_normal(len(x))
        if colour == "pink":
            spectrum = np.fft.rfft(added)
            added = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(x))
    else:
        held = _drawn(colour, draw)
        added = np.resize(np.roll(held, -int(draw.integers(len(held)))), len(x)).astype(np.float64)
    power = float(np.mean(np.square(added)))
    if power == 0:
        return x
    scale = np.sqrt(np.mean(np.square(x, dtype=np.float64)) / power) * 10 ** (-snr / 20)
    return _fitted(x + scale * added)


def reverb(x: Samples, seed: int, rt60: float, folder: str | None = None) -> Samples:
    """The clip in a room, of the same length and loudness.

    Without a folder the response is the direct sound and Gaussian noise that decays by 60 dB in `rt60` seconds, of
    equal energy (Polack 1988); else a clip of the folder, from its loudest sample on.
    """
    draw = rng(seed, "reverb")
    if folder is None:
        t = np.arange(1, max(round(rt60 * RATE), 2)) / RATE
        tail = draw.standard_normal(len(t)) * 10 ** (-3 * t / rt60)
        response = np.concatenate([[1.0], tail / np.linalg.norm(tail)])
    else:
        held = _drawn(folder, draw).astype(np.float64)
        response = held[int(np.abs(held).argmax()) :]
    size = len(x) + len(response) - 1
    heard = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)[: len(x)]
    loudness = float(np.linalg.norm(heard))
    return _fitted(heard * (float(np.linalg.norm(x)) / loudness if loudness else 1.0))


def telephone(x: Samples, seed: int = 0) -> Samples:
    """300 to 3,400 Hz at 8 kHz, in 8 bits of mu-law, and back at 16 kHz; nothing is drawn."""
    import soxr

    spectrum, hertz = np.fft.rfft(x), np.fft.rfftfreq(len(x), 1 / RATE)
    spectrum[(hertz < BAND[0]) | (hertz > BAND[1])] = 0
    low = soxr.resample(np.fft.irfft(spectrum, len(x)), RATE, RATE // 2)
    loud = np.sign(low) * np.log1p(MU * np.minimum(np.abs(low), 1)) / np.log1p(MU)
    coded = np.rint(loud * (MU // 2)) / (MU // 2)
    heard = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(MU)) / MU
    return _fitted(np.resize(soxr.resample(heard, RATE // 2, RATE), len(x)) if len(heard) else x)


def clipping(x: Samples, seed: int, share: float) -> Samples:
    """Cut off at a share of the peak, as by an amplifier that is too loud; nothing is drawn."""
    limit = share * float(np.abs(x).max(initial=0))
    cut: Samples = np.clip(x, -limit, limit)
    return cut


def speed(x: Samples, seed: int, factor: float) -> Samples:
    """Played `factor` times as fast, and so as much higher; nothing is drawn."""
    import soxr

    return _fitted(soxr.resample(x.astype(np.float64), RATE * factor, RATE))


@dataclass(frozen=True)
class Environment:
    """What is done to a clip, in order; `str` is the spec.

    >>> heard = Environment.parse("speed:2+noise:10dB")(np.ones(32000, np.float32), seed=0)
    >>> heard.shape, heard.dtype
    ((16000,), dtype('float32'))
    """

    spec: str
    stages: tuple[Callable[[Samples, int], Samples], ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of noises and room responses that it draws from."""
        given = [stage.keywords["last"] for stage in self.stages if isinstance(stage, partial)]
        return tuple(filter(_is_folder, given))

    def __str__(self) -> str:
        return self.spec

    def __call__(self, samples: Samples, seed: int) -> Samples:
        """The clip as it is heard there."""
        for k, stage in enumerate(self.stages):
            samples = stage(samples, seed + k)
        return np.ascontiguousarray(samples, dtype=np.float32)

    @classmethod
    def parse(cls, spec: str) -> Environment:
        """Read a spec. Raises UsageError, naming the part that is wrong."""
        return cls(spec, tuple(_stage(part) for part in spec.split("+")))


NUMBERS: dict[str, tuple[Callable[..., Samples], str, tuple[float, float]]] = {
    "noise": (noise, "dB", (-60, 120)),
    "reverb": (reverb, "s", (0.01, 20)),
    "clipping": (clipping, "", (0.001, 1)),
    "speed": (speed, "", (0.25, 4)),
}


def in_environment(domain: Domain, spec: str) -> Domain:
    """The clips of a domain heard in an environment; each by a seed of its own content. Raises UsageError."""
    place = Environment.parse(spec)
    if domain.kind not in SOUND:
        raise UsageError(f"{domain.name} holds no audio for {MARK}{spec}", f"leave out {MARK}{spec}")

    def heard(what: Any) -> Samples:
        samples: Samples = domain.reader(what)
        own = blake2b(samples.tobytes(), digest_size=4).digest()
        return place(samples, int.from_bytes(own, "little"))

    made_by = spec.encode() + b"".join(map(_state, place.folders))

    def digest(what: Any) -> bytes:
        return blake2b(domain.digester(what) + made_by, digest_size=20, person=b"environment-1").digest()

    note = f"{domain.name}: clips are heard through {spec}"
    return replace(domain, reader=heard, digester=digest, notes=(*domain.notes, note))


def _stage(part: str) -> Callable[[Samples, int], Samples]:
    name, *given = part.strip().split(":", 2)
    if name == "telephone" and not given:
        return telephone
    if name not in NUMBERS:
        known = [*NUMBERS, "telephone"]
        raise UsageError(f"environment {part!r} is unknown", nearest(name, known) or f"there are {', '.join(known)}")
    make, unit, (low, high) = NUMBERS[name]
    try:
        value = float(given[0].strip().removesuffix(unit) if unit else given[0])
        if not low <= value <= high:
            raise ValueError
    except (IndexError, ValueError):
        example = {"noise": "noise:10dB", "reverb": "reverb:0.5s"}.get(
            name, f"{name}:{0.3 if name == 'clipping' else 1.1}"
        )
        raise UsageError(
            f"environment {part!r} needs a number from {low} to {high}{unit and ' ' + unit}", f"for example {example}"
        ) from None
    if len(given) == 1:
        return lambda x, seed: make(x, seed, value)
    if name not in ("noise", "reverb"):
        raise UsageError(f"environment {part!r} takes one number", f"leave out {given[1]!r}")
    if name == "reverb" or _is_folder(given[1]):
        _files(given[1])
    return partial(lambda x, seed, last: make(x, seed, value, last), last=given[1])


@lru_cache(maxsize=16)
def _files(folder: str) -> tuple[Path, ...]:
    """The audio files below a folder, in order."""
    found = tuple(sorted(p for p in Path(folder).expanduser().rglob("*") if CLIPS.named(p)))
    if not found:
        raise CrossgraftError(f"there is no audio in {folder}", "give a folder of noises, or of room responses")
    return found


def _is_folder(last: str) -> bool:
    return last not in ("white", "pink")


def _drawn(folder: str, draw: np.random.Generator) -> Samples:
    """A clip of a folder of noises or room responses. Raises CrossgraftError where it tells nothing."""
    files = _files(folder)
    file = files[draw.integers(len(files))]
    try:
        held = decode(file)
    except Unreadable as wrong:
        raise CrossgraftError(f"{file} cannot be used: {wrong.reason}", "take it out of the folder") from None
    if not held.any():
        raise CrossgraftError(f"{file} cannot be used: it is silent", "take it out of the folder")
    return held


def _state(folder: str) -> bytes:
    """Names, sizes and times of the audio files below a folder: with others the same spec is another place."""
    found = [(str(p), (at := p.stat()).st_size, at.st_mtime_ns) for p in _files(folder)]
    return blake2b(repr(found).encode(), digest_size=20).digest()


def _fitted(x: np.ndarray) -> Samples:
    """Within [-1, 1], divided by the peak where it is beyond."""
    peak = float(np.abs(x).max(initial=0))
    out: Samples = (x / peak if peak > 1 else x).astype(np.float32)
    return out
