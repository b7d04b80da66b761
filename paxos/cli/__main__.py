"""Runs the command line as ``python -m paxos.cli``, where no ``paxos`` script is on the path."""

from paxos.cli import main

if __name__ == "__main__":
    main()
