"""Reproduce the tables of the paper: row of a table -> data -> recipe -> training -> evaluation -> ledger."""
