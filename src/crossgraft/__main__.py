"""`python -m crossgraft` is the command."""

from crossgraft.cli import main

main()
