"""Elements of a large XML file, one in memory at a time."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from clinlm.config.errors import DataError, MissingFileError


def xml_elements(path: Path, name: str) -> Iterator[tuple[tuple[Element, ...], Element]]:
    """Yield the elements of a name, in any case, each with those around it, and forget each afterwards.

    Entities that the file does not declare are refused.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is no XML.
    """
    if not path.is_file():
        raise MissingFileError(f"the input must be a file, got {path}, which does not exist; set root to the file")
    around: list[Element] = []
    try:
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            if event == "start":
                around.append(element)
                continue
            around.pop()
            if element.tag.lower() == name:
                yield tuple(around), element
                if around:
                    around[-1].remove(element)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataError(
            f"the file must be XML, {path.name} is none from line {line:,}, column {column + 1:,} on; repair it"
        ) from None
    except (LookupError, ValueError) as error:  # of an encoding that its first line names
        raise DataError(
            f"the file must be in an encoding that Python's reader of XML knows, {path.name} names another "
            f"({type(error).__name__}); convert it to UTF-8, and name that in its first line"
        ) from None


def xml_attribute(element: Element, name: str, path: Path) -> str:
    """Return an attribute, whatever the case of its name.

    Raises:
        DataError: it is missing or empty.
    """
    found = {key.lower(): value.strip() for key, value in element.attrib.items()}.get(name, "")
    if not found:
        raise DataError(f"every {element.tag} must have {name}, {path.name} has one without; repair the file")
    return found


def xml_text(element: Element, name: str) -> str:
    """Return the text of the first element of a name inside another, in any case; "" without one."""
    return next(("".join(inner.itertext()) for inner in element.iter() if inner.tag.lower() == name), "")
