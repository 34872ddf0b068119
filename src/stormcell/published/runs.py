"""The run: the part of a publication's name that says which frames and which model it is made from."""

import hashlib


def run_hash(frames: str, model: str) -> str:
    """Return the run of a publication: the same frames and model have the same run.

    Args:
        frames: Digest of the frames that the forecaster was given.
        model: Digest of the model file, or name and version of a baseline.

    Example:
        >>> run_hash("rain", "extrapolation")
        'a1490423'
    """
    whole = hashlib.sha256()
    for part in (frames, model):
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()[:8]
