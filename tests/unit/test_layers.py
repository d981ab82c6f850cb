"""The three-method protocol of a block, against its Jacobian in full."""

import numpy as np
import pytest

import ngdlib
from ngdlib.layers import Jacobian, Layer, gradient
from ngdlib.likelihood import fold

rng = np.random.default_rng(0)
LAYER = Layer(rng.standard_normal((4, 5)), rng.standard_normal((4, 2, 3)))
OTHER = Layer(rng.standard_normal((6, 5)), rng.standard_normal((6, 2, 3)))
BLOCKS = [(LAYER, OTHER), (Jacobian(LAYER.jacobian()), Jacobian(OTHER.jacobian()))]
V, S = rng.standard_normal((4, 2)), rng.standard_normal((3, 5))


def test_the_jacobian_of_a_layer_is_g_times_a():
    J = LAYER.jacobian()
    assert J.shape == (4, 2, 3, 5)
    assert J[1, 0, 2, 4] == pytest.approx(LAYER.g[1, 0, 2] * LAYER.a[1, 4])


@pytest.mark.parametrize(("block", "other"), BLOCKS)
def test_the_protocol_is_that_of_the_jacobian(block, other):
    J, K = LAYER.jacobian().reshape(8, -1), OTHER.jacobian().reshape(12, -1)
    assert np.allclose(block.gram(other).reshape(8, 12), J @ K.T)
    assert np.allclose(block.pull(V), (J.T @ V.reshape(-1)).reshape(3, 5))
    assert np.allclose(block.pull(np.stack([V, 2 * V]))[1], 2 * block.pull(V))
    assert np.allclose(block.push(S), (J @ S.reshape(-1)).reshape(4, 2))
    assert np.allclose(block.push(np.stack([S, 2 * S]))[1], 2 * block.push(S))
    assert np.allclose(block.squares(), (J**2).sum(0).reshape(3, 5))
    assert block.jacobian().shape == (4, 2, 3, 5)


def test_kernels_need_no_weight_jacobian_and_carry_no_one_over_n():
    (kernel,) = ngdlib.empirical_kernels([LAYER], [OTHER])
    assert kernel.A.shape == (4, 6)
    assert kernel.G.shape == (4, 2, 6, 2)
    assert np.allclose(kernel.ntk(), LAYER.gram(OTHER))
    (gram,) = ngdlib.empirical_kernels([BLOCKS[1][0]])
    assert np.allclose(gram.ntk(), LAYER.gram(LAYER))


def test_the_gradient_contains_one_over_n():
    assert np.allclose(gradient([LAYER], V)[0], LAYER.pull(V) / 4)


def test_folding_multiplies_the_outputs_of_both_kinds():
    R = rng.standard_normal((4, 3, 2))
    want = np.einsum("nkc,ncij->nkij", R, LAYER.jacobian())
    for block in BLOCKS[0][0], BLOCKS[1][0]:
        assert np.allclose(fold([block], R)[0].jacobian(), want)


@pytest.mark.parametrize(
    "method", ["exact", "block_diagonal", "block_tridiagonal", "diagonal", "gradient"]
)
@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_methods_outside_the_kronecker_family_take_any_block(method, damping):
    net = ngdlib.MLP((5, 9, 9, 2), activation="tanh")
    layers = net.layers(net.init(0), rng.standard_normal((4, 5)))
    blocks = [Jacobian(b.jacobian()) for b in layers]
    one, two = (ngdlib.natural_gradient(method, b, V, damping=damping) for b in (layers, blocks))
    assert all(np.allclose(a, b, atol=1e-8) for a, b in zip(one, two, strict=True))
    with pytest.raises(TypeError, match="kfac needs dense layers: block 1"):
        ngdlib.natural_gradient("kfac", blocks, V, damping=0.01)
