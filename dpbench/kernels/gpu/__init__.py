"""Kernels for NVIDIA GPUs: Triton programs, and whole steps as CUDA graphs.

``programs`` holds the Triton programs and is imported when a GPU tensor is first worked
on; everything else imports without triton. ``availability`` says in one line why a
machine cannot run them. Triton's interpreter (``TRITON_INTERPRET=1``, set before the
first use) runs the same programs on CPU tensors, slowly: so they are tested.
"""
