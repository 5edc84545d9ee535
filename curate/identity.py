"""Names for patients that lead nowhere: keyed hashes of native ids.

Whoever has a list of patient ids could hash them all and look them up; without the key that is impossible. The key
is made once, at random, and lies outside every corpus: $MEDSHARDS_KEY_FILE, else the user's configuration folder
($XDG_CONFIG_HOME/medshards/patients.key, usually ~/.config/medshards/patients.key). Builds with one key give one
patient one name, in all datasets; keep the key with the raw data, and do not publish it.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from medshards.curate.sample import Reject

VARIABLE = "MEDSHARDS_KEY_FILE"
LENGTH = 16  # hex digits of a name: 64 bits


def key_file() -> Path:
    """Where the key lies, or will."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(os.environ.get(VARIABLE) or Path(base) / "medshards" / "patients.key")


def load_key() -> bytes:
    """The key (32 bytes), made when there is none yet. Raises Reject `key_file` when that is impossible."""
    path = key_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        if not path.exists():
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(secrets.token_hex(32) + "\n")
            try:
                os.link(temporary, path)  # unless another process was faster; never half a key
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        key = bytes.fromhex(path.read_text())
    except OSError as error:
        message = (
            f"the key file {path} cannot be read or made ({error.strerror}); set {VARIABLE} or --key-file"
        )
        raise Reject("key_file", message) from error
    except ValueError:
        key = b""
    if len(key) != 32:
        raise Reject("key_file", f"{path} holds no key of 64 hex digits; name another file, or restore it")
    return key


def pseudonym(key: bytes, *parts: str) -> str:
    """16 hex digits that stand for `parts` (e.g. "patient" and its id): HMAC-SHA256 under the key."""
    return hmac.new(key, "\0".join(parts).encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:LENGTH]
