"""Stands in for a torch module inside a pipeline and hands its calls to the engine.

Inside a coroutine, calling the stand-in or one of its shared methods (as `vae.decode`) pauses the coroutine; anywhere
else, and for every other attribute, it is the module itself. `isinstance` sees the module's class, which is what
diffusers asks when it builds a pipeline.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from torch import nn

from deployments.engine.collate import MergeRules, ModuleCall
from deployments.engine.coroutine import in_coroutine, pause
from deployments.engine.workload import Role

Module = TypeVar("Module", bound=nn.Module)


def share(module: Module, name: str, methods: Mapping[str, MergeRules], *, role: Role = Role.SURROUNDS) -> Module:
    """A stand-in for `module`. `methods` are those whose calls may be merged, "forward" meaning a call of the module.

    `role` is what it is to a request: a part of its denoising steps, or what surrounds them.
    """
    return cast("Module", SharedModule(module, name, methods, role))


class SharedModule:
    """See the module's docstring; made by `share`."""

    def __init__(self, module: nn.Module, name: str, methods: Mapping[str, MergeRules], role: Role) -> None:
        calls = {
            method: _PausingMethod(module, method, f"{name}.{method}", rules, role) for method, rules in methods.items()
        }
        object.__setattr__(self, "_shared", (module, calls))

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance() looks at
        return type(object.__getattribute__(self, "_shared")[0])

    def __getattr__(self, name: str) -> Any:
        module, calls = object.__getattribute__(self, "_shared")
        return calls[name] if name in calls else getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "_shared")[0], name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, calls = object.__getattribute__(self, "_shared")
        return calls.get("forward", module)(*args, **kwargs)


class _PausingMethod:
    """A method of a shared module: pauses inside a coroutine, runs at once outside one."""

    def __init__(self, module: nn.Module, method: str, name: str, rules: MergeRules, role: Role) -> None:
        # Calling the module and not its `forward` keeps its hooks (offloading, casting) at work.
        self._module = module
        self._method: Callable[..., Any] = module if method == "forward" else getattr(module, method)
        accepted = inspect.signature(getattr(module, method)).parameters.values()
        self._parameters = rules.parameters or tuple(p.name for p in accepted if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._name, self._rules, self._role = name, rules, role

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not in_coroutine():
            return self._method(*args, **kwargs)
        # All arguments by name, so that callers who pass the same in different ways can share a forward.
        arguments = dict(zip(self._parameters[: len(args)], args, strict=True)) | kwargs
        call = ModuleCall(self._module, self._name, self._method, arguments, self._rules, self._role)
        hash(call.key)  # made here, where a mistake in the arguments is the caller's alone
        return pause(call)
