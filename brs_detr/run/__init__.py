"""Shared by all commands: run folders with their records and locks, distributed processes, and the console."""
