"""Reproduce the tables of the paper: check the data, train, evaluate, and write down what came of it.

row of a table -> data -> recipe -> training -> evaluation -> ledger
"""
