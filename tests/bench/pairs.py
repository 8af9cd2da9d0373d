# SPDX-License-Identifier: Apache-2.0
"""The program `pairs` (pairs.c) below a Python stack of DEPTH frames, in the interpreter's process.

usage: pairs.py PAIRS.SO DEPTH FUNCTIONS:LIBRARY...
"""
import ctypes
import sys


def at_depth(frames):
    if frames > 1:
        return at_depth(frames - 1)
    arguments = [b"pairs", b"1", *map(str.encode, sys.argv[3:])]
    vector = (ctypes.c_char_p * len(arguments))(*arguments)
    return ctypes.CDLL(sys.argv[1]).serve(len(arguments), vector)


# The module is a frame too.
sys.exit(at_depth(int(sys.argv[2]) - 1))
