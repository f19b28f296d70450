import sys

from jaxdet.predict.command import main

if __name__ == "__main__":
    sys.exit(main())
