"""Pictures whose pixels are codes, decoded by Pillow after a check of their size."""

import warnings
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stormcell.data.readers.source import Source
from stormcell.errors import InputError


def opened(
    source: Source, form: str, modes: tuple[str, ...], shape: tuple[int, int] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, str]:
    """Return a picture of one frame: its codes ``(y, x)``, its colours ``(number, 3)`` and its comment.

    Args:
        source: The file.
        form: Pillow's name of the format, such as ``"GIF"``.
        modes: Pillow's modes of the pixels that are expected, each of 8 bits.
        shape: Rows and columns that are expected.

    Returns:
        Grey values or numbers of colours; red, green and blue of the colours, or None for grey; the comment.

    Raises:
        InputError: It is another picture, damaged, or absurdly large.
    """
    with warnings.catch_warnings():
        # Pillow warns about an image that claims to be huge. Here the warning is an error.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(BytesIO(source.contents()), formats=[form]) as image:
                if shape is not None and (image.height, image.width) != shape:
                    raise InputError(
                        f"expected {shape[0]} × {shape[1]} pixels, found {image.height} × {image.width}"
                    )
                if image.mode not in modes or getattr(image, "n_frames", 1) != 1:
                    raise InputError(
                        f"expected one picture of 8 bits ({', '.join(modes)}), found "
                        f"{getattr(image, 'n_frames', 1)} of mode {image.mode}"
                    )
                image.load()
                colours = image.getpalette("RGB") if image.mode == "P" else None
                comment = image.info.get("comment", b"")
                return (
                    np.asarray(image),
                    None if colours is None else np.array(colours, np.uint8).reshape(-1, 3),
                    comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment),
                )
        except InputError:
            raise
        except Exception as error:  # Pillow raises many kinds of errors for damaged files
            raise InputError(f"expected a complete {form} image: {error}") from None
