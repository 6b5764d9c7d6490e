"""Spoken digits: four speakers to the fifth, all five, frozen speech embedding; also in noise and by telephone."""

from __future__ import annotations

import sys
import time
from typing import Any

import cells
import numpy as np

SHOTS = (0, 1, 3)
FIXED = (0.05, 0.3, 1.0)
PLACES = ("", "noise:10dB", "noise:0dB", "telephone")
MODELS = ("source_only", "target_only", "joint", *(f"lambda {lam:g}" for lam in FIXED), "kept")


def manifests(folder: Any) -> dict[str, Any]:
    """A CSV of each speaker's clips: label and speaker stand in the names of the files."""
    clips = [(path, *path.stem.split("_")[:2]) for path in sorted((cells.data() / "speech" / "fsdd").glob("*.wav"))]
    tables = {}
    for speaker in sorted({s for _, _, s in clips}):
        tables[speaker] = folder / f"{speaker}.csv"
        rows = [f"{path},{label},{s}" for path, label, s in clips if s == speaker]
        tables[speaker].write_text("\n".join(["path,label,speaker", *rows]) + "\n")
    return tables


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """The four steps of one fit; joint heads of fixed lambda on the same rows."""
    import tempfile
    from pathlib import Path

    from crossgraft.recipe import Recipe
    from crossgraft.solve.fitted import solve_frozen

    cells.alone()
    asked, began = cell["fit"], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tables = manifests(Path(folder))
        target = f"{tables.pop(asked['speaker'])}{'?env=' + asked['place'] if asked['place'] else ''}"
        recipe = Recipe.of(target=target, shots=asked["shots"], seed=asked["seed"], schedule="frozen")
        job, outcome = cells.four(recipe, target, *map(str, tables.values()))
    side, test = job.target, job.target.rows("test")
    models = {("joint" if k == "transfer" else k): v for k, v in outcome.models.items()}
    models["kept"] = outcome.models[outcome.verdict.kept]
    if len(job.rows):
        columns = len(job.task.classes)
        for lam in FIXED:
            fixed = solve_frozen(job.backbone, side, job.rows, job.source, columns, asked["seed"], lam=lam)
            models[f"lambda {lam:g}"] = fixed
    accuracy, entropy = {}, {}
    for name, fitted in models.items():
        log_p = fitted.log_probabilities(side, test)
        accuracy[name] = float((log_p.argmax(1) == side.labels[test]).mean())
        entropy[name] = float(-log_p[np.arange(len(test)), side.labels[test]].mean())
    lam = models["joint"].lam if "joint" in models else None
    return cell | {
        "accuracy": accuracy, "entropy": entropy, "kept": outcome.verdict.kept, "lam": lam,
        "n": len(test), "wall": time.perf_counter() - began,
    }  # fmt: skip


def apart(cell: dict[str, Any]) -> dict[str, Any]:
    """The gap from the other four to one speaker at a place, as `crossgraft gap` measures it, nats."""
    import tempfile
    from pathlib import Path

    from crossgraft import measure
    from crossgraft.between import see

    cells.alone()
    asked, began = cell["fit"], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tables = manifests(Path(folder))
        own = tables.pop(asked["speaker"])
        first, *rest = (table.read_text().splitlines() for table in tables.values())
        known = Path(folder) / "known.csv"
        known.write_text("\n".join([*first, *(line for lines in rest for line in lines[1:])]) + "\n")
        sides = {"source": str(known), "target": f"{own}{'?env=' + asked['place'] if asked['place'] else ''}"}
        x = see(sides, "auto", None, {}).values
    found = measure.gap(x["source"], x["target"], seed=asked["seed"], permutations=1).jsd
    return cell | {"gap": found.value, "low": found.low, "high": found.high, "wall": time.perf_counter() - began}


def speed(clips: int = 128, seconds: float = 2.0, repeats: int = 3) -> dict[str, float]:
    """Clips a second on this machine's cores as they are set: the package's own call, the same vectors here, features,
    which hear 0.6 s of silence before and after each clip too, and files of 8 kHz decoded; nothing comes from the
    store."""
    import tempfile
    from pathlib import Path

    import soundfile as sf
    import soxr
    import torch
    from openwakeword.utils import AudioFeatures

    from crossgraft.backbones.audio_models import samples, speech_embedding
    from crossgraft.domains.clips import decode
    from crossgraft.features.ragged import Ragged, tensor

    files = sorted((cells.data() / "speech" / "fsdd").glob("*.wav"))
    draw = np.random.default_rng(0)
    sound = np.concatenate([soxr.resample(*sf.read(files[i], dtype="float32"), 16000) for i in draw.permutation(1200)])
    n = round(16000 * seconds)
    whole = np.resize(sound, (clips, n)).astype(np.float32)
    package, module = AudioFeatures(), speech_embedding().module
    as_int = (samples([whole.ravel()])[0].astype(np.int64) - 32768).astype(np.int16).reshape(clips, n)
    took: dict[str, list[float]] = {"package": [], "vectors": [], "features": [], "decoded": []}
    with tempfile.TemporaryDirectory() as folder:
        named = [Path(folder) / f"{i}.wav" for i in range(clips)]
        for name, one in zip(named, whole, strict=True):
            sf.write(name, soxr.resample(one, 16000, 8000), 8000)
        for _ in range(repeats):
            began = time.perf_counter()
            for name in named:
                decode(name)
            took["decoded"].append(time.perf_counter() - began)
    for _ in range(repeats):
        began = time.perf_counter()
        theirs = package.embed_clips(as_int)
        took["package"].append(time.perf_counter() - began)
        with torch.inference_mode():
            began = time.perf_counter()
            waves = torch.from_numpy(as_int.astype(np.float32))
            frames = torch.full((8,), (n - 512) // 160 + 1)
            ours = torch.cat([module.embedding(module.mel(waves[i : i + 8], frames)) for i in range(0, clips, 8)])
            took["vectors"].append(time.perf_counter() - began)
            began = time.perf_counter()
            for i in range(0, clips, 64):
                module(tensor(Ragged.of(samples(list(whole[i : i + 64])))))
            took["features"].append(time.perf_counter() - began)
    rates = {name: clips / min(times) for name, times in took.items()}
    times = {f"times {name}": rates[name] / rates["package"] for name in ("vectors", "features", "decoded")}
    return rates | times | {"off": float(np.abs(ours.numpy() - theirs).max())}


def main() -> None:
    args = cells.arguments(__doc__ or "", places=",".join(PLACES), shots=",".join(map(str, SHOTS)))
    import tempfile
    from pathlib import Path

    from crossgraft import backbones, features
    from crossgraft.domains import open_domain

    found = speed()
    cells.table("speech-speed", list(found), [[round(v, 6) for v in found.values()]])
    places, shots = args.places.split(","), list(map(int, args.shots.split(",")))
    with tempfile.TemporaryDirectory() as folder:  # once, so that cells beside each other need not
        tables = manifests(Path(folder))
        for place in places:
            for table in tables.values():
                domain = open_domain(f"{table}{'?env=' + place if place else ''}", table.stem)
                features.features(domain, backbones.load("auto", domain))
    todo = [
        {
            "name": f"{speaker} {place or 'clean'} {k}",
            "fit": {
                "speaker": speaker,
                "place": place,
                "shots": k,
                "seed": seed,
            },
        }
        for place in places
        for seed in args.seeds
        for k in shots
        for speaker in tables
    ]
    done = cells.run("speech", todo, args.jobs, one)
    asked = [
        {"name": f"gap {speaker} {place or 'clean'}", "fit": {"speaker": speaker, "place": place, "seed": seed}}
        for place in places
        for seed in args.seeds
        for speaker in tables
    ]
    gaps = cells.run("speech-gap", asked, args.jobs, apart)
    rows, each = [], []
    for place in places:
        for k in shots:
            of = [r for r in done if (r["fit"]["place"], r["fit"]["shots"]) == (place, k)]
            means = [[r["accuracy"][m] for r in of if m in r["accuracy"]] for m in MODELS]
            lams = [r["lam"] for r in of if r["lam"] is not None]
            nats = [r["gap"] for r in gaps if r["fit"]["place"] == place]
            rows.append([
                place or "clean", k, f"{np.mean(nats):.3f}", *(f"{100 * np.mean(v):.1f}" if v else "" for v in means),
                f"{np.median(lams):.2g}" if lams else "",
            ])  # fmt: skip
            for speaker in tables:
                own = [r["accuracy"] for r in of if r["fit"]["speaker"] == speaker]
                values = [[a[m] for a in own if m in a] for m in MODELS]
                nats = [r["gap"] for r in gaps if (r["fit"]["place"], r["fit"]["speaker"]) == (place, speaker)]
                each.append(
                    [
                        place or "clean",
                        k,
                        speaker,
                        f"{np.mean(nats):.3f}",
                        *(f"{100 * np.mean(v):.1f}" if v else "" for v in values),
                    ]
                )
    models = [m.replace("_", " ") for m in MODELS]
    name = "speech" if places == [""] else "speech-places"
    cells.table(name, ["target", "labels a class", "gap, nats", *models, "lambda, median"], rows)
    cells.table(f"{name}-speakers", ["target", "labels a class", "speaker", "gap, nats", *models], each)
    print(f"median seconds a fit {np.median([row['wall'] for row in done]):.2f}", file=sys.stderr)


if __name__ == "__main__":
    main()
