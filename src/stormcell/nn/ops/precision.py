"""What convolutions compute in."""

import torch


def lowered(device: torch.device) -> torch.dtype | None:
    """Return what autocast has convolutions on this device compute in; None where it is not on."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
