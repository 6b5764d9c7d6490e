"""Feature store: an LMDB that survives a kill, shared by processes, addressed by content."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.errors import CrossgraftError
from crossgraft.progress import say

MAP_SIZE = 1 << 40  # address space, not disk: the file grows with what is in it
CHECK = 8
_open: dict[tuple[int, str], Any] = {}  # LMDB may be opened once a process


def cache_folder() -> Path:
    """$CROSSGRAFT_CACHE, else the platform's cache folder."""
    named = os.environ.get("CROSSGRAFT_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossgraft"


class Store:
    """Float32 vectors by 20-byte keys. What was put is on disk; what a crash tore is recognised and computed again."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else cache_folder() / "features"
        self._env = self._opened()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are there and whole."""
        import lmdb

        found: dict[bytes, np.ndarray] = {}
        try:
            with self._env.begin() as view:
                for key in keys:
                    value = view.get(key)
                    if value is not None and _check(value[CHECK:]) == value[:CHECK]:
                        found[key] = np.frombuffer(value, dtype=np.float32, offset=CHECK)
        except lmdb.Error as wrong:
            self._set_aside(wrong)
            return {}
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep these, all or none. Raises CrossgraftError where there is no room; what was there stays."""
        import lmdb

        try:
            with self._env.begin(write=True) as change:
                for key, vector in vectors.items():
                    data = np.ascontiguousarray(vector, dtype=np.float32).tobytes()
                    change.put(key, _check(data) + data)
        except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError) as wrong:
            self._set_aside(wrong)
            self.put(vectors)
        except (lmdb.Error, OSError) as wrong:  # no room: also half a page written, which LMDB calls an I/O error
            raise self._no_room(wrong) from None

    def close(self) -> None:
        """Let go of the files; other objects of this process on the same folder close too."""
        self._env.close()
        _open.pop((os.getpid(), str(self.folder)), None)

    def _opened(self) -> Any:
        import lmdb

        at = (os.getpid(), str(self.folder))
        if at in _open:
            return _open[at]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _open[at] = env = lmdb.open(str(self.folder), map_size=MAP_SIZE, max_readers=512, metasync=False)
            env.reader_check()  # slots of processes that were killed
            size = (self.folder / "data.mdb").stat().st_size
            if size < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
                raise lmdb.CorruptedError("the file is cut off")  # reading past its end would kill the process
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError) as wrong:
            self._set_aside(wrong)
            return self._env
        except (lmdb.Error, OSError) as wrong:
            raise self._no_room(wrong) from None
        return env

    def _no_room(self, wrong: Exception) -> CrossgraftError:
        return CrossgraftError(
            f"the feature store {self.folder} cannot be written ({wrong})",
            "make room or name another folder with CROSSGRAFT_CACHE; what was computed before is kept",
        )

    def _set_aside(self, wrong: Exception) -> None:
        """Keep a damaged store under another name and begin a new one."""
        env = _open.pop((os.getpid(), str(self.folder)), None)
        if env is not None:
            env.close()
        aside = self.folder.with_name(f"{self.folder.name}.damaged-{time.time_ns()}")
        self.folder.rename(aside)
        say(f"the feature store was damaged ({wrong}); it is now {aside} and features are computed again")
        self._env = self._opened()


def _check(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECK).digest()
