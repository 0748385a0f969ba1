"""Prove that `make format` would change nothing."""

import _clang

_clang.make('clang-format', 'format', 'CHECK=1')
