"""Prove that `make tidy` warns of nothing. CI runs it, and whoever names it: it takes two minutes on two processors."""

import os
import sys

import _clang

if not os.environ.get('QUOTA_TIDY'):
    print('skipped: takes minutes, and runs if it is named')
    sys.exit()
_clang.make('clang-tidy', 'tidy')
