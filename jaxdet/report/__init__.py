"""An HTML report on a trained detector: `python -m jaxdet.report --workdir=DIR`."""
