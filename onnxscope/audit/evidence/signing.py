"""A signature of the evidence with a private key, by the package `model-signing`.

The signature covers every file `audit.*` of the folder, and through them the models: the evidence holds the
digests of all files of every model, so that a model that was changed later no longer matches what was signed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from onnxscope.audit.evidence.files import SIGNATURE
from onnxscope.errors import BadOption

PACKAGES = "model-signing pyopenssl"  # the first imports the second, but does not name it


def check_can_sign(key_file: Path) -> Any:
    """The configuration that signs with a key. Called before an audit, it finds a bad key before the work."""
    try:
        signing = importlib.import_module("model_signing.signing")
    except ImportError as error:
        raise BadOption(
            f"a signature needs {PACKAGES.replace(' ', ' and ')} ({error})",
            where="--sign",
            remedy=f"pip install {PACKAGES}",
        ) from error
    try:
        return signing.Config().use_elliptic_key_signer(private_key=key_file)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadOption(
            f"cannot be used as a private key ({getattr(error, 'strerror', None) or error})",
            where=f"'{key_file}'",
            remedy="give a PEM file without a password on one of the curves P-256, P-384 and P-521, "
            "as openssl ecparam -genkey -name prime256v1 -noout writes it",
        ) from error


def sign(folder: Path, key_file: Path) -> Path:
    """Sign the files `audit.*` of a folder, and write the signature beside them."""
    config = check_can_sign(key_file)
    hashing = importlib.import_module("model_signing.hashing")
    target = folder / SIGNATURE
    target.unlink(missing_ok=True)
    others = [path.name for path in folder.iterdir() if not path.name.startswith("audit.")]
    ignored = hashing.Config().set_ignored_paths(paths=[*others, SIGNATURE])
    try:
        config.set_hashing_config(ignored).sign(folder, target)
    except (OSError, ValueError) as error:
        target.unlink(missing_ok=True)
        raise BadOption(
            f"cannot be signed ({error})",
            where=f"'{folder}'",
            remedy="use a folder of its own for the evidence, without links",
        ) from error
    return target
