"""Files to examples: `open_domain` takes a path, arrays, a data set of `datasets` or of torch, or a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.multilabel import SEPARATOR

__all__ = ["Domain", "Unreadable", "open_domain"]

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
HDF5 = (".h5", ".hdf5")
TEXTS = (".txt", ".text")


def open_domain(
    what: Any,
    name: str,
    *,
    input: str | None = None,
    label: str | Sequence[str] | None = None,
    split: str | None = None,
    group: str | None = None,
    task: str | None = None,
    separator: str | None = None,
) -> Domain:
    """A Domain from anything that holds examples; `name` is what messages call it.

    what    a Domain (as it is); a folder of class folders, with or without split folders above; a folder of pictures
            or of audio (unlabelled); a folder of text files of one class each, an example a line; a .txt file or a list
            of str (unlabelled); CoNLL lines or JSON lines of tagged sentences, in a file or a folder of train, dev and
            test; lists of words with lists of tags, (X, y); a .csv, .tsv, .json, .jsonl or .parquet table; .npz, HDF5
            or idx arrays; arrays X, (X, y) or (X, y, split), X may be texts, y a dict of several labels, or a dict of
            all; a DataFrame; a
            `datasets.Dataset` or `DatasetDict`; a map-style torch data set of (input, label); "mnist5000" or
            "sklearn-digits"; a name that the `datasets` library knows; a path of audio and
            `?env=noise:10dB`, heard in another environment (`domains/environments.py`)
    task    tag: files hold tagged sentences; transcribe: clips with transcripts; multilabel: labels are sets of
            classes, in texts between `separator`s; classify: none of these; else their first lines say it, and labels
            that are lists, sets or rows of 0 and 1
    input, label, split, group   columns of a table, or of a `datasets` data set; an input of two texts is
            `first+second`; of several label columns each is in `Domain.more`; where no column is called `group` there
            are no groups

    Raises CrossgraftError where it cannot be opened; single examples that cannot be used are in `skipped`.

    >>> len(open_domain(([[0.0, 1.0], [1.0, 0.0]], ["a", "b"]), "two"))
    2
    """
    from crossgraft.domains.label_sets import as_sets, holds_sets

    domain = _opened(what, name, input, label, split, group, task)
    if task == "classify" and holds_sets(domain):
        what = f"{name}: labels are lists or sets of classes, and --task classify needs one class an example"
        raise UsageError(what, "give --task multilabel")
    return as_sets(domain, separator or SEPARATOR) if task == "multilabel" or holds_sets(domain) else domain


def _opened(
    what: Any, name: str, input: str | None, label: str | Sequence[str] | None, split: str | None, group: str | None,
    task: str | None,
) -> Domain:  # fmt: skip
    if isinstance(what, Domain):
        return what
    if isinstance(what, (str, os.PathLike)):
        return _open_path(os.fspath(what), name, input, label, split, group, task)
    library = type(what).__module__.split(".")[0]
    if library == "pandas":
        from crossgraft.domains.tables import frame_domain

        spoken = task == "transcribe"
        return frame_domain(what, name, input=input, label=label, split=split, group=group, transcripts=spoken)
    if library == "datasets":
        from crossgraft.domains.hub import dataset_domain

        return dataset_domain(what, name, input=input, label=_one(label, name), split=split, group=group)
    if isinstance(what, dict):
        from crossgraft.domains.files import dict_domain

        return dict_domain(what, name)
    if isinstance(what, list) and what and all(isinstance(text, str) for text in what):
        what = (what, None)
    if hasattr(what, "shape") and hasattr(what, "dtype"):
        what = (what, None)
    if isinstance(what, tuple) and len(what) in (2, 3) and isinstance(what[1], dict):
        return _several(what, name)
    sets = task == "multilabel" or (isinstance(what, tuple) and hasattr(what[0], "dtype"))
    if isinstance(what, tuple) and len(what) in (2, 3) and not sets and _tagged(what[1]):
        from crossgraft.domains.sentences import sentence_domain

        return sentence_domain(what[0], what[1], name, split=what[2] if len(what) == 3 else None)
    if isinstance(what, tuple) and len(what) in (2, 3):
        from crossgraft.domains.arrays import array_domain

        return array_domain(what[0], what[1], name, split=what[2] if len(what) == 3 else None)
    if hasattr(what, "__getitem__") and hasattr(what, "__len__") and not isinstance(what, (list, tuple)):
        from crossgraft.domains.hub import torch_domain

        return torch_domain(what, name)
    raise UsageError(
        f"{name}: a {type(what).__name__} is no domain",
        "give a path, a name, (X, y) arrays, or a data set of datasets or torch",
    )


def _several(what: tuple[Any, ...], name: str) -> Domain:
    """Inputs with labels of several kinds by name; those that are tags of the words come first."""
    from crossgraft.domains.label_columns import bound, labels_of, unbound

    inputs, columns, *split = what
    tags = [] if hasattr(inputs, "dtype") else [c for c, y in columns.items() if _tagged(y)]
    if tags:
        domain = open_domain((inputs, columns[tags[0]], *split), name)
        return replace(domain, more={c: domain.labels if c == tags[0] else labels_of(y) for c, y in columns.items()})
    n = len(next(iter(columns.values()), ()))
    one = _opened((inputs, bound(columns, n), *split), name, None, None, None, None, None)
    return unbound(one, tuple(columns))


def _one(label: str | Sequence[str] | None, where: str) -> str | None:
    """The label column of what can have one only."""
    if label is None or isinstance(label, str):
        return label
    if len(label) > 1:
        what = f"{where} has one label an example, and {' and '.join(map(repr, label))} are asked for"
        raise UsageError(what, "give a table, JSON lines of tagged sentences, or (X, {name: labels})")
    return label[0] if label else None


def _tagged(labels: Any) -> bool:
    """Whether labels are lists of tags, some of them missing."""
    given = [y for y in labels if y is not None] if isinstance(labels, (list, tuple)) else []
    return bool(given) and all(isinstance(y, (list, tuple)) and all(isinstance(t, str) for t in y) for y in given)


def _open_path(
    text: str, name: str, input: str | None, label: str | Sequence[str] | None, split: str | None, group: str | None,
    task: str | None,
) -> Domain:  # fmt: skip
    bare, mark, place = text.rpartition("?env=")
    if mark and not os.path.exists(text):
        from crossgraft.domains.environments import in_environment

        return in_environment(_open_path(bare, name, input, label, split, group, task), place)
    path = Path(text).expanduser()
    if path.exists() and task not in ("classify", "transcribe", "multilabel"):
        from crossgraft.domains.conll import holds_tags, tagged_domain

        if task == "tag" or holds_tags(path):
            return tagged_domain(path, name, () if label is None or isinstance(label, str) else label)
    if path.exists() and not (path.is_file() and path.suffix.lower() in TABLES):
        label = _one(label, text)
    if os.path.isdir(path):
        from crossgraft.domains.folders import folder_domain
        from crossgraft.domains.texts import holds_texts, text_folder

        return text_folder(path, name) if holds_texts(path) else folder_domain(path, name)
    if os.path.isfile(path):
        return _open_file(path, name, input, label, split, group, task)
    from crossgraft.domains.packaged import PACKAGED

    if text in PACKAGED:
        return PACKAGED[text](name)
    from crossgraft.domains.folders import missing

    a_path = path.suffix or text.count("/") > 1 or text.startswith((".", "/", "~")) or path.is_symlink()
    if a_path or (path.parent != Path() and path.parent.exists()):
        raise missing(path)
    from crossgraft.domains.hub import named_domain

    hint = nearest(text, [*PACKAGED, *os.listdir()])
    return named_domain(
        text, name, input=input, label=_one(label, text), split=split, group=group, hint=hint.rstrip("?")
    )


def _open_file(
    path: Path, name: str, input: str | None, label: str | Sequence[str] | None, split: str | None, group: str | None,
    task: str | None,
) -> Domain:  # fmt: skip
    suffix = path.suffix.lower()
    if suffix in TABLES:
        from crossgraft.domains.tables import table_domain

        return table_domain(
            path, name, input=input, label=label, split=split, group=group, transcripts=task == "transcribe"
        )
    from crossgraft.domains import files, folders
    from crossgraft.domains.sorts import by_name

    if suffix in TEXTS:
        from crossgraft.domains.texts import text_file

        return text_file(path, name)
    if suffix == ".npz":
        return files.npz_domain(path, name)
    if suffix in HDF5:
        return files.hdf5_domain(path, name)
    if "idx" in path.name and "ubyte" in path.name:
        return files.idx_domain(path, name)
    if (sort := by_name(path)) is not None:
        return folders.example_files([path], name, sort)
    raise CrossgraftError(
        f"{path} is of no kind that can be opened",
        f"give a folder, {', '.join((*TABLES, '.npz', *HDF5))} or an idx file",
    )
