#!/usr/bin/env python3
"""An entry of a PTX file as C++: translate.py FILE.ptx ENTRY OUT.cpp"""
import re
import sys

# The modules of rules fill the table as they are loaded.
import arithmetic  # noqa: F401
import control  # noqa: F401
import transfers  # noqa: F401
import ptx
from ptx import Refused
from rules import cpp_name, translate

# What a launch adds to shared memory begins at a multiple of this, or of what the kernel asks for.
DYNAMIC_ALIGN = 16
# How variables are aligned where C++ keeps them: as the longest vector.
VECTOR_ALIGN = 16


class Shared:
    """Where a kernel's variables lie in the shared memory of a block."""

    def __init__(self):
        self.places, self.bytes = {}, 0
        self.dynamic, self.dynamic_align = [], DYNAMIC_ALIGN

    def add(self, variable):
        if variable.name in self.places:
            raise Refused(f"two shared variables {variable.name}")
        if variable.count is None:
            self.dynamic.append(variable.name)
            self.dynamic_align = max(self.dynamic_align, variable.align)
            return
        self.bytes = aligned(self.bytes, variable.align)
        self.places[variable.name] = self.bytes
        self.bytes += variable.bytes

    def end(self):
        """All that have no size of their own lie at one place, after all others."""
        self.dynamic_at = aligned(self.bytes, self.dynamic_align)
        self.places.update(dict.fromkeys(self.dynamic, self.dynamic_at))


class Kernel:
    """An entry with all that it reaches."""

    def __init__(self, text, entry):
        self.functions, variables = ptx.read(text)
        if entry not in self.functions or not self.functions[entry].is_entry:
            raise Refused("there is no such entry")
        self.entry = self.functions[entry]
        self.reached = self.reach()
        words = set().union(*(function.words() for function in self.reached))
        self.constants = {one.name: one for one in variables if one.space != "shared" and one.name in words}
        self.shared = Shared()
        for variable in variables:
            if variable.space == "shared" and variable.name in words:
                self.shared.add(variable)
        for function in self.reached:
            for one in ptx.statements(function.body):
                if isinstance(one, ptx.Variable) and one.space == "shared":
                    self.shared.add(one)
        self.shared.end()
        # Whether threads wait for each other: where they do not, one runs after the other.
        self.meets = False

    def reach(self):
        """The functions that are called, those first that call none of the others."""
        found, seen = [], set()

        def visit(function):
            if function.body is None or function.name in seen:
                return
            seen.add(function.name)
            for name in sorted(function.words() & self.functions.keys()):
                visit(self.functions[name])
            found.append(function)

        visit(self.entry)
        return found

    def write(self):
        constants = [write_constant(one) for one in self.constants.values()]
        functions = [FunctionWriter(self, function).write() for function in self.reached]
        return "\n".join(['#include "warp.h"', *constants, *functions, self.description()])

    def description(self):
        places, size = layout(self.entry.parameters)
        parameters = ", ".join(f"{{{places[one.name]}, {one.bytes}}}" for one in self.entry.parameters)
        constants = ", ".join(f"{{(u64)V_{cpp_name(one.name)}, {one.bytes}}}" for one in self.constants.values())
        return (
            f"static const Parameter parameters[] = {{{parameters or '{0, 0}'}}};\n"
            f"static const Range constants[] = {{{constants or '{0, 0}'}}};\n"
            f'extern "C" const Kernel kernel = {{{cpp_name(self.entry.name)}, '
            f"parameters, {len(self.entry.parameters)}, {size}, constants, {len(self.constants)}, "
            f"{self.shared.bytes}, {self.shared.dynamic_at}, {int(bool(self.shared.dynamic))}, "
            f"{self.entry.most_threads}, {int(self.meets)}}};\n"
        )


class FunctionWriter:
    """A function as C++; what rules ask about names is answered here."""

    def __init__(self, kernel, function):
        self.kernel, self.function = kernel, function
        self.registers, self.locals = set(), set()
        self.parameters, _ = layout(function.parameters) if function.is_entry else ({}, 0)
        if not function.is_entry:
            self.locals.update(one.name for one in function.results + function.parameters)

    def calls(self, name):
        return any(one.name == name and not one.is_entry for one in self.kernel.reached)

    def meets(self):
        self.kernel.meets = True

    def place(self, name):
        """The address of a variable, or none."""
        if name in self.locals:
            return f"(u64){cpp_name(name)}"
        if name in self.parameters:
            return f"(u64)(t->block->parameters + {self.parameters[name]})"
        if name in self.kernel.shared.places:
            return f"{self.kernel.shared.places[name]}ull"
        if name in self.kernel.constants:
            return f"(u64)V_{cpp_name(name)}"
        return None

    def write(self):
        name, function = cpp_name(self.function.name), self.function
        given = [] if function.is_entry else function.results + function.parameters
        parameters = ", ".join(["Thread* t", *(f"u8* {cpp_name(one.name)}" for one in given)])
        lines = [f"static void {name}({parameters}) {{", "u32 carry = 0; (void)t; (void)carry;"]
        for statement in ptx.statements(function.body):
            lines.append(self.statement(statement))
        return "\n".join([*lines, "}"])

    def statement(self, one):
        if isinstance(one, ptx.Brace):
            return one.text
        if isinstance(one, ptx.Label):
            return f"{cpp_name(one.name)}:;"
        if isinstance(one, ptx.Registers):
            self.registers.update(one.names)
            type = "bool" if one.type == "pred" else f"u{ptx.SIZES[one.type] * 8}"
            return f"{type} {', '.join(map(cpp_name, one.names))};" if one.names else ""
        if isinstance(one, ptx.Variable):
            return self.variable(one)
        text = translate(one, self)
        if not one.guard:
            return text
        guard = one.guard.lstrip("!")
        if guard not in self.registers:
            raise Refused(f"guard {one.guard} of {one.opcode}")
        return f"if ({'!' if one.guard.startswith('!') else ''}{cpp_name(guard)}) {{ {text} }}"

    def variable(self, one):
        if one.space == "shared":
            return ""
        if one.space not in ("local", "param"):
            raise Refused(f"variable {one.name} in a function")
        self.locals.add(one.name)
        return f"alignas({max(one.align, VECTOR_ALIGN)}) u8 {cpp_name(one.name)}[{one.bytes}];"


def aligned(at, to):
    return (at + to - 1) // to * to


def layout(parameters):
    places, at = {}, 0
    for one in parameters:
        at = aligned(at, one.align)
        places[one.name] = at
        at += one.bytes
    return places, at


def write_constant(one):
    if one.values is None:
        raise Refused(f"variable {one.name}: kernels would have to share it")
    values = one.values if one.values.startswith("{") else f"{{{one.values}}}"
    # Numbers by their bits: 0f3f800000.
    values = re.sub(r"\b0[fFdD]([0-9a-fA-F]{8,16})\b", r"0x\1", values)
    if re.search(r"[g-wyzG-WYZ_$]", values):
        raise Refused(f"variable {one.name}: its values are no numbers")
    size = ptx.SIZES[one.type]
    align = max(one.align, VECTOR_ALIGN)
    return f"alignas({align}) static const u{size * 8} V_{cpp_name(one.name)}[{one.count}] = {values};"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    file, entry, out = sys.argv[1:]
    try:
        with open(file) as source:
            text = Kernel(source.read(), entry).write()
    except Refused as why:
        sys.exit(f"translate: {entry} of {file}: {why}")
    with open(out, "w") as to:
        to.write(text)


if __name__ == "__main__":
    main()
