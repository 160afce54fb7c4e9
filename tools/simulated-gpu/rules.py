"""Which spellings of an instruction are known, and what its operands are in C++.

A rule lists the modifiers that may follow an instruction's name, in order: `ftz?` may be missing, `round=rn|rz` is one
of two and is kept under a name. A spelling that no rule takes is refused.
"""
import re

from ptx import Refused

INTEGERS = "u16|s16|u32|s32|u64|s64"
BITS = "b16|b32|b64"
REALS = "f32|f64"
HALVES = "f16|bf16"
PAIRS = "f16x2|bf16x2"

# By an instruction's name: patterns of its modifiers, and who writes it.
RULES = {}

SYMBOL = re.compile(r"([%\w$]+)\s*(?:\+\s*(-?\d+))?$")
WHOLE = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)U?$")
TRUTHS = {"0": "false", "1": "true", "-1": "true"}
LITERALS = {"0f": "u32", "0F": "u32", "0d": "u64", "0D": "u64"}
SPECIAL = {
    "WARP_SZ": "32u",
}
for _axis, _letter in enumerate("xyz"):
    SPECIAL[f"%tid.{_letter}"] = f"t->index[{_axis}]"
    SPECIAL[f"%ntid.{_letter}"] = f"t->block->size[{_axis}]"
    SPECIAL[f"%ctaid.{_letter}"] = f"t->block->index[{_axis}]"
    SPECIAL[f"%nctaid.{_letter}"] = f"t->block->grid[{_axis}]"


def rule(names, modifiers=""):
    """Gives the spelling to the function that writes it as C++."""
    pattern = ""
    for token in modifiers.split():
        optional = token.endswith("?")
        key, _, choices = token.rstrip("?").rpartition("=")
        choices = choices.split("|")
        one = rf"\.(?P<{key or choices[0]}>{'|'.join(map(re.escape, choices))})"
        pattern += f"(?:{one})?" if optional else one

    def take(write):
        for name in names.split():
            RULES.setdefault(name, []).append((re.compile(pattern + "$"), write))
        return write

    return take


def translate(instruction, function):
    """An instruction as a statement of C++."""
    name, dot, modifiers = instruction.opcode.partition(".")
    for pattern, write in RULES.get(name, []):
        if said := pattern.match(dot + modifiers):
            return write(Form(name, instruction, said.groupdict(), function))
    raise Refused(f"instruction {instruction.opcode} {', '.join(instruction.operands)}")


def cpp_name(name):
    """A name that nothing else has."""
    return ("r_" if name.startswith("%") else "n_") + name.lstrip("%").replace("$", "S_")


class Form:
    """An instruction that a rule has taken, with what its modifiers say."""

    def __init__(self, name, instruction, said, function):
        self.name = name
        self.opcode = instruction.opcode
        self.operands = instruction.operands
        self.said = said
        self.function = function

    def __getitem__(self, key):
        return self.said.get(key)

    @property
    def type(self):
        return self.said["type"]

    @property
    def unsigned(self):
        """The type's bits, as a number."""
        return "u" + re.search(r"\d+", self.type)[0]

    def expect(self, *counts):
        if len(self.operands) not in counts:
            raise Refused(f"instruction {self.opcode} with {len(self.operands)} operands")

    def refuse(self, why):
        raise Refused(f"instruction {self.opcode} {', '.join(self.operands)}: {why}")

    def operand(self, number):
        if number >= len(self.operands):
            self.refuse("an operand is missing")
        return self.operands[number]

    def read(self, number, type=None):
        return self.value(self.operand(number), type or self.type)

    def read_all(self, first=1, type=None):
        return [self.read(number, type) for number in range(first, len(self.operands))]

    def write(self, value, type=None, operand=None):
        """A value into the first operand, or into the one named."""
        operand = operand or self.operand(0)
        type = type or self.type
        if operand == "_":
            return f"(void)({value});"
        if type == "pred":
            return f"{self.register(operand)} = {value};"
        return f"set<{type}>({self.register(operand)}, {value});"

    def members(self, number):
        """The operands in braces, or the one that stands without."""
        operand = self.operand(number)
        return [one.strip() for one in operand[1:-1].split(",")] if operand.startswith("{") else [operand]

    def register(self, operand):
        if operand not in self.function.registers:
            self.refuse(f"{operand} is no register")
        return cpp_name(operand)

    def value(self, operand, type):
        """An operand as an expression of a type."""
        if type == "pred":
            if operand in TRUTHS:
                return TRUTHS[operand]
            return f"!{self.register(operand[1:])}" if operand.startswith("!") else self.register(operand)
        if operand in self.function.registers:
            return f"get<{type}>({cpp_name(operand)})"
        if operand in SPECIAL:
            return f"({type})({SPECIAL[operand]})"
        bits = LITERALS.get(operand[:2])
        if bits:
            return f"get<{type}>(({bits})0x{operand[2:]}ull)"
        if WHOLE.match(operand):
            return f"immediate<{type}>(0x{int(operand.rstrip('U'), 0) & (1 << 64) - 1:x}ull)"
        return f"({type})({self.symbol(operand)})"

    def symbol(self, text):
        """Where a variable, or what a register points to, is."""
        parts = SYMBOL.match(text)
        if not parts:
            self.refuse(f"operand {text}")
        name, offset = parts[1], int(parts[2] or 0)
        base = f"(u64){cpp_name(name)}" if name in self.function.registers else self.function.place(name)
        if base is None:
            self.refuse(f"{name} is not known")
        return f"{base} + (u64){offset}ll" if offset else base

    def address(self, number):
        text = self.operand(number)
        if not (text.startswith("[") and text.endswith("]")):
            self.refuse("an address is expected in brackets")
        inside = text[1:-1].strip()
        return f"(u64){inside}ull" if inside.isdigit() else self.symbol(inside)
