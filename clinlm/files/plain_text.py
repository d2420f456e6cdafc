"""Text files read strictly: UTF-8 or an error that names the line."""

from pathlib import Path

from clinlm.files import delimited


def read(path: Path) -> str:
    """The text of a file, plain or gzip, with every character that it has: line ends and a byte order mark included.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: its bytes are not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"a corpus reads a file; there is none at {path}; set root to the file")
    data = b"".join(delimited.chunks(path, delimited.BLOCK_BYTES))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"text must be UTF-8; {path.name} line {line:,} has the byte 0x{data[error.start]:02x}; convert the file, "
            "for instance with iconv"
        ) from None


def lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends (line feed, or return and line feed) and the byte order mark.

    No other character ends a line: texts hold form feeds and Unicode's line separators.
    """
    return [line.removesuffix("\r") for line in read(path).removeprefix("\ufeff").split("\n")]
