"""Tables of trained networks: ground truth against which searches are judged.

A protocol (`options/bench`) fixes the training of every network. `build` trains a sample of
genotypes, `surrogate` predicts all the others, and `table` looks genotypes up.
"""
