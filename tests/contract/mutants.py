"""Mistakes that have been made in this field, one line each, and the test that must notice each.

A mutant is a small patch of the package's text: what stands there once, what it becomes, and the name
of the test that kills it. `test_mutants.py` applies each to a copy.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    mistake: str
    old: str  # occurs exactly once in the package
    new: str
    test: str  # the node that kills it


CONTRACT = "tests/contract/test_contract.py::"
UNIT = "tests/unit/"

MUTANTS = [
    Mutant(
        "the step is added",
        "dW[:, : W.shape[1]] * -learning_rate",
        "dW[:, : W.shape[1]] * learning_rate",
        UNIT + "test_mlp.py::test_update_subtracts_and_leaves_its_arguments_alone",
    ),
    Mutant(
        "the gradient without 1/N",
        "return [layer.pull(residual) / n for layer in layers]",
        "return [layer.pull(residual) for layer in layers]",
        UNIT + "test_layers.py::test_the_gradient_contains_one_over_n",
    ),
    Mutant(
        "a transposed flattening of the kernel, outputs before samples",
        "G.reshape(n, c, m, d))",
        "G.reshape(c, n, d, m).transpose(1, 0, 3, 2))",
        UNIT + "test_layers.py::test_the_protocol_is_that_of_the_jacobian",
    ),
    Mutant(
        "the bias column is 1, not sigma_b",
        "xp.full((len(a), 1), self.bias_variance**0.5",
        "xp.full((len(a), 1), 1.0",
        UNIT + "test_mlp.py::test_the_bias_column_is_sigma_b_and_there_is_none_without_biases",
    ),
    Mutant(
        "weights are scaled by sigma_w^2 / M, not by its root",
        "return (self.weight_variance / self.widths[layer]) ** 0.5",
        "return self.weight_variance / self.widths[layer]",
        UNIT + "test_mlp.py::test_the_forward_pass_by_hand",
    ),
    Mutant(
        "a wrong derivative of tanh",
        "lambda u: 1 - namespace(u).tanh(u) ** 2",
        "lambda u: 1 - abs(namespace(u).tanh(u))",
        UNIT + "test_mlp.py::test_the_jacobian_is_that_of_finite_differences",
    ),
    Mutant(
        "damping added twice",
        "return structure.shift(damping)",
        "return structure.shift(2 * damping)",
        UNIT + "test_theory.py::test_damping_is_in_units_of_the_fisher_matrix",
    ),
    Mutant(
        "damping in units of the kernel, N times that of F",
        "return structure.shift(damping)",
        "return structure.shift(damping * sizes.samples)",
        UNIT + "test_theory.py::test_damping_is_in_units_of_the_fisher_matrix",
    ),
    Mutant(
        "no damping at all",
        "return structure.shift(damping)",
        "return structure.shift(0 * damping)",
        CONTRACT + "test_isotropy_is_the_matrix_by_brute_force[exact-L2-C1-none-wide-tanh]",
    ),
    Mutant(
        "a sign in Woodbury's formula",
        "(g - p) / damping",
        "(g + p) / damping",
        CONTRACT
        + "test_precondition_is_the_natural_gradient_of_the_same_gradient[kfac-L3-C2-bias-tall-tanh]",
    ),
    Mutant(
        "K-FAC's step without 1/N",
        'einsum("kncm,nci,mj->kij", x / len(b.a), b.g, b.a)',
        'einsum("kncm,nci,mj->kij", x, b.g, b.a)',
        UNIT + "test_theory.py::test_t1_the_directional_derivative_along_the_update[3-1]",
    ),
    Mutant(
        "K-FAC's prediction without 1/N",
        'einsum("nb,ncmd,kmdb->knc", K.A, K.G, x) / x.shape[1]',
        'einsum("nb,ncmd,kmdb->knc", K.A, K.G, x)',
        UNIT + "test_theory.py::test_alpha_of_kfac_with_textbook_factors[3-2]",
    ),
    Mutant(
        "one output of K-FAC's residual on the pairs of another sample",
        'einsum("nb,ncmd,kmdb->knc", K.A, K.G, x)',
        'einsum("nb,ncmd,kbdm->knc", K.A, K.G, x)',
        CONTRACT + "test_isotropy_is_the_matrix_by_brute_force[kfac-L3-C2-bias-tall-tanh]",
    ),
    Mutant(
        "relu's kernel without the angle",
        "cosine *= slope",
        "cosine *= 0.5",
        UNIT + "test_infinite.py::test_the_anchor_table",
    ),
    Mutant(
        "no sigma_b^2 in the recursion",
        "phi += net.bias_variance",
        "phi += 0",
        UNIT + "test_infinite.py::test_the_anchor_table",
    ),
    Mutant(
        "no sigma_w^2 in the backward kernel",
        "slope *= net.weight_variance",
        "slope *= 1.0",
        UNIT + "test_infinite.py::test_relu_layer_by_layer",
    ),
    Mutant(
        "erf's kernel with 1 + q for 1 + 2 q",
        "(1 / namespace(q).sqrt(1 + 2 * q),)",
        "(1 / namespace(q).sqrt(1 + q),)",
        UNIT + "test_infinite.py::test_unequal_norms_against_quadrature",
    ),
    Mutant(
        "a sign of u under softmax",
        'u = -einsum("nck,nc->nk", Q,',
        'u = einsum("nck,nc->nk", Q,',
        UNIT + "test_training.py::test_gradient_and_hessian_of_every_loss_by_differences",
    ),
    Mutant(
        "the Hessian p for p (1 - p) under the logistic loss",
        "root = xp.sqrt(p * q)",
        "root = xp.sqrt(p)",
        UNIT + "test_training.py::test_gradient_and_hessian_of_every_loss_by_differences",
    ),
    Mutant(
        "a sum over the sampled labels, not a mean",
        "(f, rng, samples) / samples**0.5",
        "(f, rng, samples)",
        UNIT + "test_training.py::test_many_sampled_labels_come_near_the_hessian",
    ),
    Mutant(
        "the pi of factored damping upside down",
        "pairs.append((self.rho**0.5 / pi, self.rho**0.5 * pi))",
        "pairs.append((self.rho**0.5 * pi, self.rho**0.5 / pi))",
        UNIT + "test_training.py::test_factored_damping_by_hand",
    ),
    Mutant(
        "relative damping that is absolute",
        "damping.c * mean for mean in means",
        "damping.c for mean in means",
        UNIT + "test_training.py::test_relative_damping_has_no_units_and_one_value_in_both_spaces",
    ),
    Mutant(
        "the step size 1 / mean",
        "2 / (eigenvalues[0] + eigenvalues[-1])",
        "1 / eigenvalues.mean()",
        UNIT
        + "test_theory.py::test_one_over_the_mean_diverges_under_damping_and_the_optimal_step_does_not",
    ),
    Mutant(
        "predictions that climb",
        "f - learning_rate * act(G, r)",
        "f + learning_rate * act(G, r)",
        CONTRACT
        + "test_predictions_iterate_the_dense_matrices_from_layers_and_from_kernels[exact-L2-C1-none-wide-tanh]",
    ),
    Mutant(
        "epsilon added to the root of the Hessian",
        "maximum(s, 0.0) + epsilon)",
        "maximum(s, 0.0)) + epsilon",
        UNIT + "test_theory.py::test_appendix_d_exact_plus_squared_error",
    ),
    Mutant(
        "the loss without its 1/2",
        "((f - y) ** 2).sum() / (2 * len(f))",
        "((f - y) ** 2).sum() / len(f)",
        UNIT
        + "test_training.py::test_the_first_entry_is_the_start_and_the_loss_is_half_the_mean_square",
    ),
    Mutant(
        "a bias that the step forgets",
        "b - learning_rate * dW[:, -1]",
        "b - 0 * dW[:, -1]",
        UNIT + "test_theory.py::test_t1_the_directional_derivative_along_the_update[3-2]",
    ),
    Mutant(
        "a rank that is short goes unseen",
        "(pivots.min() > tolerance)",
        "(pivots.min() > -1)",
        UNIT + "test_errors.py::test_duplicate_inputs_at_zero_damping_are_named",
    ),
    Mutant(
        "block-tri-diagonal without its neighbours",
        "<= self.reach)",
        "< self.reach)",
        UNIT + "test_theory.py::test_alpha_of_the_layerwise_methods",
    ),
    Mutant(
        "a minor of the elimination with the wrong sign",
        "- below @ X[:, : above[p].shape[1]]",
        "+ below @ X[:, : above[p].shape[1]]",
        CONTRACT
        + "test_every_space_gives_the_step_of_the_dense_matrix[block_tridiagonal-L4-C1-bias-wide-relu]",
    ),
]
