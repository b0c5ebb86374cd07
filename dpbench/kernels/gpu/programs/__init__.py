"""The Triton programs. Importing one of these modules imports triton.

Channels lie on lanes; a block holds ``BLOCK`` edges of one atom times ``LANES``
channels. Sums run in a fixed order and nothing is added atomically, so results repeat
bit for bit. Numbers that decide precision (the cutoffs) come as compile-time constants:
Triton passes a Python float at run time as float32.

Programs take more arguments than the house style allows a function, because a Triton
program takes pointers, not objects; the wrappers one floor up take objects.
"""
