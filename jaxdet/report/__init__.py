"""A report on a detector, one html file: `python -m jaxdet.report --workdir=DIR`."""
