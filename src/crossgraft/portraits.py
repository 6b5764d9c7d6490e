"""An example as the report shows it: a thumbnail, of a clip its spectrogram and its sound."""

from __future__ import annotations

from typing import Any

from crossgraft.domains.clips import RATE, encode, portrait
from crossgraft.domains.domain import SOUND, Domain
from crossgraft.domains.pictures import thumbnail
from crossgraft.run import Run

HEARD = 2  # seconds of a clip that the report plays
SIDE = 160  # pixels of the longer side of a thumbnail


def portrayed(run: Run, domain: Domain, example: int, k: int) -> dict[str, Any]:
    """Write picture k of a run, of an example, into its folder; the names of the files by what they are."""
    what, sound = domain.read(example), domain.kind in SOUND
    picture = run.folder / "pictures" / f"{k}.jpg"
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(thumbnail(portrait(what) if sound else what, SIDE))
    if not sound:
        return {"file": picture.name}
    picture.with_suffix(".wav").write_bytes(encode(what[: HEARD * RATE]))
    return {"file": picture.name, "sound": f"{k}.wav"}
