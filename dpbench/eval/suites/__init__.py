"""Suites: tasks, data and bounds as one frozen file, run as one command.

``format`` and ``loading`` read the file, ``data`` makes its datasets, ``plan`` lays out
what is to be measured and what of it is there already, ``run`` does the rest, and
``scoring`` turns results into one number when somebody looks.
"""
