"""Rules of what moves values: between registers, and to and from memory."""
from ptx import SIZES
from rules import BITS, HALVES, INTEGERS, REALS, rule

ANY = f"b8|u8|s8|{INTEGERS}|{BITS}|{REALS}|{HALVES}"
CHECKS = {"global": "global", "shared": "shared", "local": "local", "const": "global", None: "generic"}


@rule("mov", f"type={INTEGERS}|{BITS}|{REALS}|{HALVES}|pred")
def move(i):
    to, of = i.members(0), i.members(1)
    if len(to) == len(of) == 1:
        return i.write(i.read(1))
    bits = SIZES[i.type] * 8 // max(len(to), len(of))
    if len(of) > 1:
        parts = (f"(u{SIZES[i.type] * 8}){i.value(one, f'u{bits}')} << {bits * at}" for at, one in enumerate(of))
        return i.write(" | ".join(parts), i.unsigned)
    parts = (i.write(f"(u{bits})(whole >> {bits * at})", f"u{bits}", one) for at, one in enumerate(to))
    return f"{{ u64 whole = {i.read(1, i.unsigned)}; {' '.join(parts)} }}"


@rule("cvta", "to? space=global|shared|local|const type=u32|u64")
def generic_address(i):
    if i["space"] != "shared":
        return i.write(i.read(1))
    return i.write(f"{i.read(1)} {'-' if i['to'] else '+'} (u64)t->block->shared")


@rule("ld", f"volatile? space=global|shared|local|const? cache=ca|cg|cs|lu|cv? nc? vector=v2|v4? type={ANY}")
def load(i):
    if i["nc"] and i["space"] != "global":
        i.refuse("only global memory is read so")
    to, size = i.members(0), SIZES[i.type]
    space = CHECKS[i["space"]]
    values = (i.write(f"loaded<{i.type}>(at + {size * at})", operand=one) for at, one in enumerate(to))
    return f"{{ const u8* at = {space}_memory(t, {i.address(1)}, {size * len(to)}, READ); {' '.join(values)} }}"


@rule("st", f"volatile? space=global|shared|local? cache=wb|cg|cs|wt? vector=v2|v4? type={ANY}")
def store(i):
    values, size = i.members(1), SIZES[i.type]
    space = CHECKS[i["space"]]
    stores = (f"stored<{i.type}>(at + {size * at}, {i.value(one, i.type)});" for at, one in enumerate(values))
    return f"{{ u8* at = {space}_memory(t, {i.address(0)}, {size * len(values)}, WRITE); {' '.join(stores)} }}"


@rule("ld", f"param vector=v2|v4? type={ANY}")
def load_parameter(i):
    size = SIZES[i.type]
    values = (
        i.write(f"loaded<{i.type}>((const u8*)({i.address(1)}) + {size * at})", operand=one)
        for at, one in enumerate(i.members(0))
    )
    return " ".join(values)


@rule("st", f"param vector=v2|v4? type={ANY}")
def store_parameter(i):
    size = SIZES[i.type]
    stores = (
        f"stored<{i.type}>((u8*)({i.address(0)}) + {size * at}, {i.value(one, i.type)});"
        for at, one in enumerate(i.members(1))
    )
    return " ".join(stores)


CHANGES = {
    "add": "old + value",
    "min": "lesser(old, value)",
    "max": "greater(old, value)",
    "and": "old & value",
    "or": "old | value",
    "xor": "old ^ value",
    "cas": "old == value ? other : old",
}
ORDER = "order=relaxed|acquire|release|acq_rel? scope=cta|gpu|sys? space=global|shared?"


@rule("atom", f"{ORDER} change=add type=u32|s32|u64|f32|f64")
@rule("atom", f"{ORDER} change=add noftz type={HALVES}")
@rule("atom", f"{ORDER} change=min|max type=u32|s32|u64|s64")
@rule("atom", f"{ORDER} change=and|or|xor type=b32|b64")
@rule("atom", f"{ORDER} change=cas type=b16|b32|b64")
def atomic(i):
    other = f"{i.type} other = {i.read(3)}; " if i["change"] == "cas" else ""
    change = CHANGES[i["change"]]
    if i.type in HALVES.split("|"):
        change = f"narrow<{i.type}>(widen(old) + widen(value))"
    memory = f"{CHECKS[i['space']]}_memory(t, {i.address(1)}, {SIZES[i.type]}, ATOMIC)"
    changed = f"changed<{i.type}>({memory}, [&]({i.type} old) -> {i.type} {{ return {change}; }})"
    return f"{{ {i.type} value = {i.read(2)}; {other}{i.write(changed)} }}"


@rule("cp", "async cache=ca|cg shared global")
def copy_later(i):
    i.expect(3, 4)
    if i.operands[2] not in (("16",) if i["cache"] == "cg" else ("4", "8", "16")):
        i.refuse("as many bytes cannot be copied")
    given = i.read(3, "u32") if len(i.operands) == 4 else i.operands[2]
    return f"copy_later(t, {i.address(0)}, {i.address(1)}, {i.operands[2]}, {given});"


@rule("cp", "async wait_all")
def copies_done(i):
    return "copies_done(t);"
