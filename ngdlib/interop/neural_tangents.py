"""neural-tangents 0.6.5 on today's JAX.

The last release of neural-tangents imports names that JAX has since moved or dropped, and one
subpackage that needs TensorFlow. `load()` imports it all the same. JAX and SciPy stay as they are:

* names needed only while neural-tangents is imported are lent to JAX and taken back (`_lend`);
* names needed when its functions run are replaced in its own modules, never in JAX's (`_repair`).
"""

import importlib
import importlib.util
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

INSTALL = "pip install --no-deps neural-tangents==0.6.5 && pip install frozendict jax scipy"
TESTED = "JAX 0.10.2 (Python 3.11) and JAX 0.12.0.1 (Python 3.12)"

_lock = threading.Lock()
_loaded: ModuleType | None = None


def load() -> ModuleType:
    """Return the `neural_tangents` module, working on today's JAX and without TensorFlow.

    The first call takes about a second with JAX's own import, later calls return the same module.
    Infinite-width kernels (`stax`), empirical kernels in every implementation, `predict`,
    `linearize` and `taylor_expand` are there; `neural_tangents.experimental`, which is
    TensorFlow's, is not. After `load()` a plain `import neural_tangents` gives the same module.

    Its convention: `empirical_ntk_fn` averages over `trace_axes`, which is the last axis unless
    told otherwise, so `trace_axes=()` gives the kernel of `Kernel.ntk()` with axes (n, m, c, d);
    and a network equals `ngdlib.MLP` only with `Dense(..., parameterization="ntk")`, its default.

    Raises:
        ImportError: neural-tangents, or a package it needs, is not installed (the message has the
            line that installs it), or this JAX defeats it (the message names versions that work).
    """
    global _loaded
    with _lock:
        if _loaded is not None and sys.modules.get("neural_tangents") is _loaded:
            return _loaded
        for name in ("neural_tangents", "jax", "scipy", "frozendict"):
            if not _installed(name):
                raise ImportError(
                    f"neural_tangents.load() needs the package {name!r}, which is not installed. "
                    f"Install it, without TensorFlow, by: {INSTALL}",
                    name=name,
                )
        try:
            with warnings.catch_warnings():
                # Its source has string escapes that newer Pythons warn of: not the reader's affair.
                warnings.simplefilter("ignore", SyntaxWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                with _lend():
                    module = importlib.import_module("neural_tangents")
                _repair(module)
                _check(module)
        except Exception as error:
            _forget()
            raise ImportError(_defeated(error), name="neural_tangents") from error
        _loaded = module
        return module


def _installed(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None


def _defeated(error: Exception) -> str:
    from importlib.metadata import PackageNotFoundError, version

    def which(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "of unknown version"

    return (
        f"neural-tangents {which('neural-tangents')} cannot be loaded on JAX {which('jax')}: "
        f"{type(error).__name__}: {error}. neural-tangents 0.6.5 works with {TESTED}; install one "
        "of these, or do without: nothing else in ngdlib needs it."
    )


def _forget() -> None:
    """Drop what a failed import left behind, so that the next one starts afresh."""
    for name in [n for n in sys.modules if n.split(".")[0] == "neural_tangents"]:
        del sys.modules[name]


@contextmanager
def _lend() -> Iterator[None]:
    """Lend JAX the names that neural-tangents reads while it is imported, then take them back."""
    import jax
    from jax.extend import core as extend_core
    from jax.interpreters import ad

    if "neural_tangents" not in sys.modules:
        _forget()  # halves of an import that failed before load() was called

    attributes: list[tuple[ModuleType, str, Any]] = [
        # These five moved to jax.extend.core.
        *((jax.core, n, getattr(extend_core, n)) for n in _MOVED_TO_EXTEND),
        # Gone. It is only the key of a rule for a primitive that JAX no longer emits.
        (ad, "zeros_like_p", extend_core.Primitive("zeros_like")),
    ]
    modules: dict[str, ModuleType] = {
        # Gone. Only these two functions are used.
        "jax.util": _Overlay(ModuleType("jax.util"), safe_map=_safe_map, safe_zip=_safe_zip),
        # Needs TensorFlow and tf2jax, for functions that return TensorFlow kernels.
        "neural_tangents.experimental": ModuleType("neural_tangents.experimental"),
    }
    # A name that a module's __getattr__ answers (a deprecated one, with a warning) counts as
    # missing: what is set here hides it and is deleted again.
    attributes = [(owner, n, value) for owner, n, value in attributes if n not in vars(owner)]
    before = {name: sys.modules.get(name) for name in modules}
    try:
        sys.modules.update(modules)
        for owner, name, value in attributes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, _ in attributes:
            delattr(owner, name)
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    # The stand-in was also bound in the package; without it the name is honestly missing.
    vars(sys.modules["neural_tangents"]).pop("experimental", None)


_MOVED_TO_EXTEND = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")


def _repair(module: ModuleType) -> None:
    """Replace, in neural-tangents' own modules, what its functions look up when they run."""
    import jax
    import scipy.linalg
    from jax.extend import core as extend_core
    from jax.extend import source_info_util
    from jax.interpreters import ad

    empirical: Any = importlib.import_module("neural_tangents._src.empirical")
    predict: Any = importlib.import_module("neural_tangents._src.predict")
    linear: Any = importlib.import_module("neural_tangents._src.stax.linear")
    core = _Overlay(
        jax.core,
        # Moved to jax.extend.core.
        Var=extend_core.Var,
        # Gone: no variable has a shape that depends on data, so nothing is an instance of it.
        DShapedArray=type("DShapedArray", (), {}),
        # No longer lets tracers through, as predict and attention need; this one does.
        eval_context=jax.ensure_compile_time_eval,
    )
    empirical.core = core
    empirical.ad = _Overlay(
        ad,
        # Moved to jax.extend.
        source_info_util=source_info_util,
        # Behind this switch stand checks written with abstract values that no longer exist.
        config=SimpleNamespace(jax_enable_checks=False),
    )
    # Asks the size and shape of abstract values and the dtype of arrays: jax.numpy warns of both,
    # and is about to refuse them.
    empirical.jnp = _Overlay(jax.numpy, size=_size, shape=_shape, dtype=_dtype)
    # Used jax.interpreters.ad.linearize, which no longer returns a jaxpr, and the deprecated
    # linear_util.wrap_init; jax.linearize and jax.make_jaxpr do the same in public.
    empirical._get_primals_out_and_pullback = partial(_linearise, empirical._backward_pass)
    # Asked primitives for call_primitive, map_primitive and reducing_transposes, all gone.
    empirical._eqn_vjp_fn = _transpose_equation
    # Compiled.cost_analysis() returned a list of one dictionary, now the dictionary or None.
    empirical._get_flops = _flops
    # NtkImplementation.AUTO printed the cost of each implementation at every new shape.
    empirical.print = _silent
    # Both call jax.core.eval_context.
    predict.jax = linear.jax = _Overlay(jax, core=core)
    # scipy.linalg.eigvalsh(eigvals=) is now subset_by_index=.
    predict.sp = _Overlay(
        predict.sp, linalg=_Overlay(scipy.linalg, eigvalsh=_eigvalsh(scipy.linalg.eigvalsh))
    )


def _check(module: ModuleType) -> None:
    """Trace one kernel of each kind, without compiling: a JAX too new fails here, not later."""
    import jax

    stax = module.stax
    init, apply, kernel = stax.serial(stax.Dense(2), stax.Relu(), stax.Dense(1))
    x = jax.ShapeDtypeStruct((2, 3), "float32")
    _, params = jax.eval_shape(lambda: init(jax.random.key(0), (2, 3)))
    jax.eval_shape(lambda x: kernel(x, None, ("nngp", "ntk")), x)
    for how in module.NtkImplementation:
        if how is not module.NtkImplementation.AUTO:
            ntk = module.empirical_ntk_fn(apply, trace_axes=(), implementation=how)
            jax.eval_shape(lambda x, p, ntk=ntk: ntk(x, None, p), x, params)


class _Overlay(ModuleType):
    """A module seen with a few names replaced; the module itself is left alone."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        super().__init__(module.__name__, module.__doc__)
        vars(self).update(names, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _safe_map(function: Callable[..., Any], *sequences: Any) -> list[Any]:
    """Like `map`, to a list, of sequences that must be equally long."""
    return [function(*args) for args in zip(*sequences, strict=True)]


def _safe_zip(*sequences: Any) -> list[tuple[Any, ...]]:
    """Like `zip`, to a list, of sequences that must be equally long."""
    return list(zip(*sequences, strict=True))


def _linearise(
    backward: Callable[..., Any],
    function: Callable[..., Any],
    mode: Any,
    _j_rules: bool,
    _s_rules: bool,
    _fwd: bool | None,
    *primals: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Return the outputs, and the map from cotangents to what neural-tangents collects on the way.

    `backward` is its pass over the jaxpr of the tangent map. No jit is left in that jaxpr, because
    the pass knows no equation that contains others.
    """
    import jax
    from jax.interpreters.ad import UndefinedPrimal

    with jax.disable_jit():
        outputs, tangent_map = jax.linearize(function, *primals)
        closed = jax.make_jaxpr(tangent_map)(*primals)
    tree = jax.tree_util.tree_structure(primals)

    def pullback(*cotangents: Any) -> Any:
        collected = backward(
            closed.jaxpr,
            mode=mode,
            consts=closed.consts,
            primals_in=[UndefinedPrimal(v.aval) for v in closed.jaxpr.invars],
            cotangents_in=tuple(jax.tree_util.tree_leaves(cotangents)),
            _j_rules=_j_rules,
            _s_rules=_s_rules,
            _fwd=_fwd,
        )
        return jax.tree_util.tree_unflatten(tree, collected)

    return outputs, pullback


def _transpose_equation(equation: Any, cotangent: Any, *inputs: Any) -> Any:
    """Cotangents of the inputs of one linear equation, None for constants."""
    import jax
    from jax.interpreters import ad

    if equation is None:  # the identity
        return (cotangent,)
    primitive, params = equation.primitive, equation.params
    if primitive in ad.primitive_transposes:
        return ad.primitive_transposes[primitive](cotangent, *inputs, **params)
    # More and more primitives (slice, gather ..) keep their rule where no other library sees it.
    linear = [i for i, x in enumerate(inputs) if isinstance(x, ad.UndefinedPrimal)]
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(v.aval) for v in equation.invars]

    def apply(*values: Any) -> Any:
        arguments = list(inputs)
        for i, value in zip(linear, values, strict=True):
            arguments[i] = value
        out = primitive.bind(*arguments, **params)
        return out[0] if primitive.multiple_results else out

    avals = [jax.ShapeDtypeStruct(inputs[i].aval.shape, inputs[i].aval.dtype) for i in linear]
    cotangents = dict(zip(linear, jax.linear_transpose(apply, *avals)(cotangent), strict=True))
    return [cotangents.get(i) for i in range(len(inputs))]


def _size(x: Any) -> int:
    return math.prod(_shape(x))


def _shape(x: Any) -> tuple[int, ...]:
    import jax.numpy as jnp

    return tuple(x.shape) if hasattr(x, "shape") else jnp.shape(x)


def _dtype(x: Any) -> Any:
    import jax.numpy as jnp

    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def _flops(function: Callable[..., Any], optimize: bool, *args: Any, **kwargs: Any) -> float:
    """Return the floating point operations of a call as XLA counts them; infinite if it won't."""
    import jax

    lowered = jax.jit(function).lower(*args, **kwargs)
    analysis = (lowered.compile() if optimize else lowered).cost_analysis()
    if isinstance(analysis, list | tuple):
        analysis = analysis[0] if analysis else None
    return (analysis or {}).get("flops", float("inf"))


def _silent(*args: Any, **kwargs: Any) -> None:
    """Print nothing."""


def _eigvalsh(eigvalsh: Callable[..., Any]) -> Callable[..., Any]:
    def call(a: Any, *args: Any, eigvals: Any = None, **kwargs: Any) -> Any:
        return eigvalsh(a, *args, subset_by_index=eigvals, **kwargs)

    return call
