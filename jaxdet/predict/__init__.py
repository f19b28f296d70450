"""Detection in files, videos and streams, from the command line: `python -m jaxdet.predict`."""

from jaxdet.predict.command import main
from jaxdet.predict.run import predict

__all__ = ["main", "predict"]
