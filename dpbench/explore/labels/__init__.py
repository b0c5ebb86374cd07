"""Labels: energies, forces and virials of frames by a program of reference.

A *driver* knows one program: it writes its input, runs it, says whether the output is
good and, if not, what to change. ``labelling`` does the rest for all of them: folders,
attempts, remedies, quarantine, and that no label is paid for twice.
"""
