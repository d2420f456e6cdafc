"""Every choice of some names, written as Hydra sweeps them."""

from itertools import combinations


def subsets(*names: str) -> str:
    """Return every non-empty subset of `names` as a list of Hydra's, smallest first: "[a],[b],[a,b]".

    A sweep says `labeler.use: ${subsets:ontology,llm,human}`.

    Raises:
        ValueError: no name, or one twice.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f"subsets are of different names; got {', '.join(names) or 'none'}; name each once")
    chosen = [some for size in range(1, len(names) + 1) for some in combinations(names, size)]
    return ",".join(f"[{','.join(some)}]" for some in chosen)
