"""Reads PTX as nvcc writes it: variables, and functions with their statements."""
import re
from dataclasses import dataclass
from typing import Optional

# Bytes of a type.
SIZES = {
    **dict.fromkeys(("b8", "u8", "s8"), 1),
    **dict.fromkeys(("b16", "u16", "s16", "f16", "bf16"), 2),
    **dict.fromkeys(("b32", "u32", "s32", "f32", "f16x2", "bf16x2"), 4),
    **dict.fromkeys(("b64", "u64", "s64", "f64"), 8),
}

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
WORD = re.compile(r"[\w$]+")
# What fills a line and has no semicolon.
LINE = re.compile(r"\.(?:version|target|address_size|file|loc)\b[^\n]*")
LINKAGE = r"(?:\.(?:visible|weak|extern|common)\s+)*"
FUNCTION = re.compile(
    LINKAGE + r"\.(?P<kind>entry|func)\b\s*(?:\((?P<results>[^()]*)\))?\s*(?P<name>[\w$]+)\s*"
    r"(?:\((?P<parameters>[^()]*)\))?(?P<directives>[^{;]*)(?P<end>[{;])"
)
VARIABLE = re.compile(LINKAGE + r"\.(?P<space>shared|global|const|local|param)\s*(?P<rest>\..*)$", re.S)
DECLARED = re.compile(
    r"(?:\.align\s+(?P<align>\d+)\s*)?\.(?P<type>\w+)\s+(?:\.ptr\s+(?:\.(?:global|shared|const|local)\s+)?"
    r"(?:\.align\s+\d+\s+)?)?(?P<name>[\w$]+)\s*(?P<counts>(?:\[\d*\]\s*)*)(?:=\s*(?P<values>.*))?$",
    re.S,
)
DIRECTIVE = re.compile(r"\.(\w+)(?:\s+(\d+(?:\s*,\s*\d+)*))?")
LABEL = re.compile(r"([\w$]+)\s*:(?!:)")
GUARDED = re.compile(r"@(?P<guard>!?%?[\w$]+)\s+(?P<rest>.*)$", re.S)


class Refused(Exception):
    """What is not known is refused by name: nothing is guessed or passed over."""


@dataclass
class Variable:
    space: str
    name: str
    type: str
    align: int
    # None: as large as the launch makes it.
    count: Optional[int]
    values: Optional[str]

    @property
    def bytes(self):
        return SIZES[self.type] * (self.count or 0)


@dataclass
class Registers:
    type: str
    names: list


@dataclass
class Label:
    name: str


@dataclass
class Brace:
    text: str


@dataclass
class Instruction:
    guard: str
    opcode: str
    operands: list


@dataclass
class Function:
    name: str
    is_entry: bool
    results: list
    parameters: list
    most_threads: int
    # None: declared only.
    body: Optional[str]

    def words(self):
        return set(WORD.findall(self.body or ""))


def read(text):
    """The functions, by name, and the variables outside of them."""
    text = COMMENT.sub("", text)
    functions, variables = {}, []
    at = 0
    while True:
        at = skip_space(text, at)
        if at == len(text):
            return functions, variables
        if line := LINE.match(text, at):
            at = line.end()
        elif head := FUNCTION.match(text, at):
            body, at = (None, head.end()) if head["end"] == ";" else read_body(text, head.end())
            if head["name"] not in functions or body is not None:
                functions[head["name"]] = read_function(head, body)
        else:
            end = text.index(";", at)
            variables.append(read_variable(text[at:end]))
            at = end + 1


def skip_space(text, at):
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def read_body(text, at):
    """What stands before the brace that closes the one before `at`, and where it ends."""
    start, depth = at, 1
    for brace in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start:brace.start()], brace.end()
    raise Refused("a function without an end")


def read_function(head, body):
    most = 1024
    for name, sizes in DIRECTIVE.findall(head["directives"]):
        if name in ("maxntid", "reqntid"):
            most = 1
            for size in sizes.split(","):
                most *= int(size)
        elif name not in ("minnctapersm", "maxnreg", "noreturn"):
            raise Refused(f"directive .{name} of {head['name']}")
    results, parameters = (read_list(head[part] or "") for part in ("results", "parameters"))
    return Function(head["name"], head["kind"] == "entry", results, parameters, most, body)


def read_list(text):
    return [read_variable(one) for one in text.split(",") if one.strip()]


def read_variable(text):
    text = text.strip()
    outer = VARIABLE.match(text)
    inner = outer and DECLARED.match(outer["rest"])
    if not inner or inner["type"] not in SIZES:
        raise Refused(f"declaration {' '.join(text.split())[:80]}")
    count = 1
    for size in re.findall(r"\[(\d*)\]", inner["counts"]):
        count = count * int(size) if size else None
    align = int(inner["align"] or SIZES[inner["type"]])
    return Variable(outer["space"], inner["name"], inner["type"], align, count, inner["values"])


def statements(body):
    """What a function does, one after the other: braces, labels, declarations and instructions."""
    at = 0
    while True:
        at = skip_space(body, at)
        if at == len(body):
            return
        if body[at] in "{}":
            yield Brace(body[at])
            at += 1
        elif line := LINE.match(body, at):
            at = line.end()
        elif label := LABEL.match(body, at):
            yield Label(label[1])
            at = label.end()
        else:
            end = body.index(";", at)
            statement = read_statement(" ".join(body[at:end].split()))
            if statement:
                yield statement
            at = end + 1


def read_statement(text):
    if not text or text.startswith(".pragma"):
        return None
    if text.startswith(".reg"):
        return read_registers(text)
    if text.startswith("."):
        return read_variable(text)
    guard = ""
    if guarded := GUARDED.match(text):
        guard, text = guarded["guard"], guarded["rest"]
    opcode, _, operands = text.partition(" ")
    return Instruction(guard, opcode, split(operands))


def read_registers(text):
    declared = re.match(r"\.reg\s*\.(\w+)\s+(.*)$", text)
    if not declared or declared[1] not in (*SIZES, "pred"):
        raise Refused(f"declaration {text}")
    names = []
    for name in declared[2].split(","):
        many = re.match(r"(.*)<(\d+)>$", name.strip())
        names += [f"{many[1]}{number}" for number in range(int(many[2]))] if many else [name.strip()]
    return Registers(declared[1], names)


def split(text):
    """At commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return parts + [last] if last else parts
