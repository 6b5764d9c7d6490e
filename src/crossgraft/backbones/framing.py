"""How many frames a clip of so many samples has, by the layers that hear it; for integers, arrays and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HOP, SPAN = 160, 512  # samples from frame to frame, and of one frame
WINDOW, STEP = 76, 8  # frames that one vector of the speech embedding sees; from one vector to the next
CONTEXT = 9600  # samples of silence before and after a clip; see speech.SpeechClips
WHISPER_HOP = 2 * HOP
HALVED = 2  # times that the frames of small networks are, of utterances


def embedding_frames(samples: Any) -> Any:
    """Vectors of the speech embedding: one for every 80 ms of a clip with silence around it, less the last window.

    >>> embedding_frames(16000)
    18
    """
    return ((samples + 2 * CONTEXT - SPAN) // HOP + 1 - WINDOW) // STEP + 1


def mel_frames(samples: Any, halved: int) -> Any:
    """Frames of a small network: one for each hop that has begun, halved some times.

    >>> mel_frames(16000, 2)
    25
    """
    frames = (samples - 1) // HOP + 1
    for _ in range(halved):
        frames = (frames + 1) // 2
    return frames


def wave_frames(samples: Any, config: Mapping[str, Any]) -> Any:
    """Frames of wav2vec2 and its like, by the convolutions of their configuration; below 1 where a clip is too short.

    >>> wave_frames(16000, {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]})
    49
    """
    for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def whisper_frames(samples: Any) -> Any:
    """Frames of Whisper's encoder that a clip fills: one for every 20 ms.

    >>> whisper_frames(16000)
    50
    """
    return samples // WHISPER_HOP
