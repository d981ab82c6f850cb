"""Interactive figures: one declaration, three homes.

    from ngdlib.explore import Slider, explore
    explore(figures.exact.one_step, width=Slider(16, 512, 256, cpu=4096))

In a notebook this is a widget, in the built website a picture that comes alive in the reader's
browser, and where neither can be an object with the numbers, the words and `save(path)`. The figure
does not know which.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from typing import Any

import numpy as np

from ngdlib.explore.declaration import address, declare
from ngdlib.figures import Figure
from ngdlib.figures.controls import Choice, LogSlider, Slider

__all__ = ["Choice", "Figure", "LogSlider", "Slider", "address", "explore", "home"]


def home() -> str:
    """Where figures appear: "page", "kernel" or "plain"; the variable NGDLIB_HOME overrides."""
    wanted = os.environ.get("NGDLIB_HOME", "")
    if wanted:
        if wanted not in ("page", "kernel", "plain"):
            raise ValueError(f"NGDLIB_HOME must be page, kernel or plain, but is {wanted!r}.")
        return wanted
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if getattr(shell, "kernel", None) is not None:
            return "kernel"
    # A widget can do all that a picture can; only without ipywidgets is there nothing to move.
    return "kernel" if importlib.util.find_spec("ipywidgets") else "plain"


def explore(figure: Figure, *, backend: str = "auto", **controls: Any) -> Any:
    """Show a figure, live where its home can compute.

    figure    a module-level `Figure`, such as `ngdlib.figures.exact.one_step`.
    controls  Slider, LogSlider or Choice for an argument of the figure's `compute`, in place of the
              figure's own; any other value fixes the argument. Without any control at all the
              figure is a still picture.
    backend   "numpy", "jax", or "auto": JAX if it has a graphics card here, else NumPy.

    Returns a widget (kernel.py), or in the book's build and without ipywidgets a `Picture`
    (page.py). Raises TypeError for something that is no figure or an argument the figure does not
    have, ValueError for a figure that cannot be imported by name or an unknown backend, ImportError
    if a notebook lacks ipywidgets.
    """
    if backend not in ("auto", "numpy", "jax"):
        raise ValueError(f"backend must be auto, numpy or jax, but is {backend!r}.")
    where = home()
    if where != "kernel":
        from ngdlib.explore.page import Picture

        declaration = declare(figure, controls, "browser" if where == "page" else "cpu")
        if where == "page" and declaration.where.startswith("__main__:"):
            raise ValueError(
                f"the figure {declaration.where} is defined in the notebook, where the website "
                "cannot import it from. Move it into a module of ngdlib.figures."
            )
        picture = Picture(declaration)
        if where == "page":
            # Made here, not when it is shown: an error in showing would not stop the book's build.
            _ = picture.html
        return picture
    xp, place, device = choose_backend(backend)
    from ngdlib.explore.kernel import Explorer

    return Explorer(declare(figure, controls, place, xp), device)


def choose_backend(backend: str) -> tuple[Any, str, str]:
    """Array namespace, home whose ranges hold, and device for "auto", "numpy" or "jax"."""
    # Importing JAX takes a second, so without an accelerator plug-in nobody pays for asking.
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    if backend == "numpy" or (backend == "auto" and not ("jax" in sys.modules or plugins)):
        return np, "cpu", "cpu"
    if importlib.util.find_spec("jax") is None:
        if backend == "auto":
            return np, "cpu", "cpu"
        raise ImportError(
            'explore(backend="jax") needs JAX: pip install jax, or leave backend out.'
        )
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return (jax.numpy, "cpu", "cpu") if backend == "jax" else (np, "cpu", "cpu")
    name = "cuda" if device.platform == "gpu" else device.platform
    return jax.numpy, "gpu", f"{name}:{device.id}"
