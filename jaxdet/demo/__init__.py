"""A web page to try a detector on: `python -m jaxdet.demo --workdir=DIR`."""
