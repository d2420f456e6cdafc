"""What tests share: made-up notes, networks, pipelines and servers, and the checker of array shapes."""

from support import shapes as shapes  # jaxtyping's hook imports the package only
