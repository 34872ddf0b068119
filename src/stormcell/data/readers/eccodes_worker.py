"""The program of the process that decodes GRIB2 by ecCodes: see ``eccodes_process``.

It reads messages from its standard input, each after 8 octets with its length. It answers with an octet
that is 1 for success, 8 octets with a length, and the values in float32 or the text of an error. It ends at
the end of its input. It imports only the standard library, NumPy and ecCodes.
"""

import sys

MOST_MEMORY = 3 * 2**30
# Marks missing values.
ABSENT = -9.0e33
_DOUBLE_ONLY = ("grid_png", "grid_jpeg")


def main() -> None:
    """Answer until the input ends."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # not all systems have limits
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(length := asked.read(8)) == 8:
        message = asked.read(int.from_bytes(length, "big"))
        try:
            status, answer = 1, decode(message)
        except Exception as error:
            status, answer = 0, f"{type(error).__name__}: {error}".encode()
        answers.write(bytes([status]) + len(answer).to_bytes(8, "big") + answer)
        answers.flush()


def decode(message: bytes) -> bytes:
    """Return the values of a message as float32, in its order; missing ones are below 0.99 × ABSENT."""
    import eccodes
    import numpy as np

    handle = eccodes.codes_new_from_message(message)
    try:
        eccodes.codes_set(handle, "missingValue", ABSENT)
        if eccodes.codes_get(handle, "packingType") in _DOUBLE_ONLY:
            values = eccodes.codes_get_double_array(handle, "values")
        else:
            values = eccodes.codes_get_float_array(handle, "values")
    finally:
        eccodes.codes_release(handle)
    return np.asarray(values, np.float32).tobytes()


if __name__ == "__main__":
    main()
