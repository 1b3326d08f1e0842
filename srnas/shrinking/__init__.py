"""From a trained network and a budget to a faster one: fit, score, choose, distil.

The recipe of DONNA (Moons et al., ICCV 2021), LANA (Molchanov et al., ECCV 2022) and Puzzle
(Bercovich et al., 2024): each part of a trained network gets cheaper alternatives, which are fitted
to what the part computes; the loss of the whole network is measured with one part replaced at a
time; an integer program chooses for a budget; the network so composed learns the outputs of the
trained one.
"""
