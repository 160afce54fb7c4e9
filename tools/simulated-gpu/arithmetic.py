"""Rules of arithmetic, comparisons and conversions."""
import re

from rules import BITS, HALVES, INTEGERS, PAIRS, REALS, rule

MODES = {"rz": "FE_TOWARDZERO", "rm": "FE_DOWNWARD", "rp": "FE_UPWARD"}
# How to get a whole number from one that is none.
WHOLE = {"rni": "std::nearbyint", "rzi": "std::trunc", "rmi": "std::floor", "rpi": "std::ceil"}
ROUND = "round=rn|rz|rm|rp?"
TO_WHOLE = "whole=rni|rzi|rmi|rpi"
# What an instruction does with operands a, b and c.
MEANING = {
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "fma": "std::fma(a, b, c)",
    "div": "a / b",
    "rcp": "1 / a",
    "sqrt": "std::sqrt(a)",
    "rsqrt": "1 / std::sqrt(a)",
    "min": "lesser(a, b)",
    "max": "greater(a, b)",
    "ex2": "std::exp2(a)",
    "lg2": "std::log2(a)",
    "neg": "-a",
    "abs": "std::fabs(a)",
}


def function(i, type):
    """What an instruction means, as a function of numbers."""
    letters = [letter for letter in "abc" if re.search(rf"\b{letter}\b", MEANING[i.name])]
    i.expect(1 + len(letters))
    parameters = ", ".join(f"{type} {letter}" for letter in letters)
    return f"[]({parameters}) {{ return {MEANING[i.name]}; }}"


@rule("add sub mul fma", f"{ROUND} ftz? sat? type=f32")
@rule("div sqrt rcp", f"{ROUND} ftz? type=f32")
@rule("div", "approximate=approx|full ftz? type=f32")
@rule("rcp sqrt rsqrt ex2 lg2", "approx ftz? type=f32")
@rule("min max neg abs", "ftz? type=f32")
@rule("add sub mul fma div sqrt rcp", f"{ROUND} type=f64")
@rule("min max neg abs", "type=f64")
def real(i):
    values = i.read_all()
    if i["ftz"]:
        values = [f"flushed({value})" for value in values]
    if mode := MODES.get(i["round"]):
        value = f"rounded<{mode}>({function(i, i.type)}, {', '.join(values)})"
    else:
        value = f"{function(i, i.type)}({', '.join(values)})"
    if i["sat"]:
        value = f"saturated({value})"
    return i.write(f"flushed({value})" if i["ftz"] else value)


@rule("min max", f"ftz? NaN type=f32|{HALVES}")
def with_none(i):
    """None of the numbers may be none, or the result is none."""
    values = [f"widen({value})" for value in i.read_all()]
    if i["ftz"]:
        values = [f"flushed({value})" for value in values]
    return i.write(f"narrow<{i.type}>(or_none({function(i, 'f64')}, {', '.join(values)}))")


@rule("rcp", "approx ftz type=f64")
def high_word(i):
    """Only the upper half of the result is given."""
    return i.write(f"high_word({function(i, 'f64')}({i.read(1)}))")


@rule("add sub mul fma", f"rn? type={HALVES}")
@rule("neg abs", f"type={HALVES}")
def half(i):
    values = ", ".join(f"widen({value})" for value in i.read_all())
    return i.write(f"narrow<{i.type}>({function(i, 'f64')}({values}))")


@rule("fma", f"rn type={PAIRS}")
def pair(i):
    values = ", ".join(i.read_all(type="u32"))
    return i.write(f"in_pairs<{i.type[:-2]}>({function(i, 'f64')}, {values})", "u32")


@rule("add sub", f"type={INTEGERS}")
@rule("mul mad", f"lo type={INTEGERS}")
def whole(i):
    expression = {"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "mad": "{} * {} + {}"}[i.name]
    return i.write(expression.format(*i.read_all()))


@rule("mul mad", "wide type=u16|s16|u32|s32")
def wide(i):
    type = i.type[0] + str(2 * int(i.type[1:]))
    sum = f" + {i.read(3, type)}" if i.name == "mad" else ""
    return i.write(f"({type}){i.read(1)} * ({type}){i.read(2)}{sum}", type)


@rule("mul", f"hi type={INTEGERS}")
def high(i):
    return i.write(f"high_product<{i.type}>({i.read(1)}, {i.read(2)})")


@rule("add", "cc type=u32|s32|b32|u64|s64|b64")
@rule("addc", "cc? type=u32|s32|b32|u64|s64|b64")
@rule("sub", "cc type=u32|s32|b32|u64|s64|b64")
@rule("subc", "cc? type=u32|s32|b32|u64|s64|b64")
@rule("mad", "part=lo|hi cc type=u32|s32|u64|s64")
@rule("madc", "part=lo|hi cc? type=u32|s32|u64|s64")
def carried(i):
    """Parts of longer numbers: what is carried over comes in with a `c` in the name, and goes out with `.cc`."""
    if i["part"] == "hi" and i.type[0] == "s":
        i.refuse("upper halves of signed numbers")
    values = i.read_all(type=i.unsigned)
    if i["part"]:
        product = f"high_product<{i.unsigned}>" if i["part"] == "hi" else f"low_product<{i.unsigned}>"
        values = [f"{product}({values[0]}, {values[1]})", values[2]]
    kind = "difference" if i.name.startswith("sub") else "sum"
    comes = "carry" if i.name.endswith("c") else "0"
    goes = "carry" if i["cc"] else "unused"
    total = f"{kind}<{i.unsigned}>({values[0]}, {values[1]}, {comes}, {goes})"
    return f"{{ u32 unused; {i.write(total, i.unsigned)} }}"


FUNCTIONS = {
    "div": "quotient",
    "rem": "remainder",
    "min": "lesser",
    "max": "greater",
    "neg": "negative",
    "shl": "shifted_left",
    "shr": "shifted_right",
    "popc": "bits_set",
    "clz": "leading_zeros",
    "bfi": "field_set",
}


@rule("div rem min max", f"type={INTEGERS}")
@rule("neg", "type=s16|s32|s64")
@rule("shl", f"type={BITS}")
@rule("shr", f"type={INTEGERS}|{BITS}")
@rule("bfi", "type=b32|b64")
def by_function(i):
    # Where bits are, and how many, is 32 bits wide whatever the type.
    of_type = 2 if i.name in ("div", "rem", "min", "max", "bfi") else 1
    values = [i.read(at, None if at <= of_type else "u32") for at in range(1, len(i.operands))]
    return i.write(f"{FUNCTIONS[i.name]}<{i.type}>({', '.join(values)})")


@rule("popc clz", "type=b32|b64")
def counted(i):
    return i.write(f"{FUNCTIONS[i.name]}<{i.type}>({i.read(1)})", "u32")


@rule("and or xor", f"type={BITS}|pred")
def bitwise(i):
    return i.write(f"{i.read(1)} {SIGNS[i.name]} {i.read(2)}")


@rule("not", f"type={BITS}|pred")
def bitwise_not(i):
    return i.write(f"{'!' if i.type == 'pred' else '~'}{i.read(1)}")


@rule("prmt", "type=b32")
def bytes_chosen(i):
    i.expect(4)
    return i.write(f"bytes_chosen({', '.join(i.read_all())})")


@rule("dp4a", "s32 s32_2=s32")
def products_of_bytes(i):
    return i.write(f"products_of_bytes({i.read(1, 'u32')}, {i.read(2, 'u32')}, {i.read(3, 's32')})", "s32")


@rule("copysign", "type=f32|f64")
def copied_sign(i):
    return i.write(f"std::copysign({i.read(2)}, {i.read(1)})")


WHOLE_COMPARISONS = {
    "eq": "x == y",
    "ne": "x != y",
    **dict.fromkeys(("lt", "lo"), "x < y"),
    **dict.fromkeys(("le", "ls"), "x <= y"),
    **dict.fromkeys(("gt", "hi"), "x > y"),
    **dict.fromkeys(("ge", "hs"), "x >= y"),
}
# With a `u`, those of which one is no number compare as true.
REAL_COMPARISONS = {
    **{name: WHOLE_COMPARISONS[name] for name in ("eq", "lt", "le", "gt", "ge")},
    "ne": "x < y || x > y",
    "equ": "!(x < y || x > y)",
    "neu": "!(x == y)",
    "ltu": "!(x >= y)",
    "leu": "!(x > y)",
    "gtu": "!(x <= y)",
    "geu": "!(x < y)",
    "num": "x == x && y == y",
    "nan": "x != x || y != y",
}
SIGNS = {"and": "&", "or": "|", "xor": "^"}


def comparison(i, reals):
    """The code that leaves the outcome in `holds`."""
    x, y = i.read(1), i.read(2)
    if reals:
        x, y = (f"widen({value})" for value in (x, y))
    if i["ftz"]:
        x, y = (f"flushed({value})" for value in (x, y))
    holds = (REAL_COMPARISONS if reals else WHOLE_COMPARISONS)[i["compare"]]
    if i["also"]:
        holds = f"({holds}) {SIGNS[i['also']]} {i.read(3, 'pred')}"
    return f"auto x = {x}; auto y = {y}; bool holds = {holds};"


ORDERS = "compare=eq|ne|lt|le|gt|ge|lo|ls|hi|hs"
REAL_ORDERS = "compare=" + "|".join(REAL_COMPARISONS)


@rule("setp", f"{ORDERS} also=and|or|xor? type={INTEGERS}|{BITS}")
@rule("setp", f"{REAL_ORDERS} also=and|or|xor? ftz? type={REALS}|{HALVES}")
def compare(i):
    true, _, false = (part.strip() for part in i.operands[0].partition("|"))
    also = "" if false in ("", "_") else i.write("!holds", "pred", false)
    return f"{{ {comparison(i, i.type in (REALS + '|' + HALVES).split('|'))} {i.write('holds', 'pred', true)} {also} }}"


@rule("set", f"{REAL_ORDERS} also=and|or|xor? ftz? to=u32|s32|f32|f16|bf16 type={REALS}|{HALVES}")
def compare_to_number(i):
    # All bits of a whole number, or one.
    one, none = ("-1", "0") if i["to"] in ("u32", "s32") else (f"narrow<{i['to']}>(1)", f"narrow<{i['to']}>(0)")
    test = comparison(i, i.type in (REALS + "|" + HALVES).split("|"))
    return f"{{ {test} {i.write(f'holds ? {one} : {none}', i['to'])} }}"


@rule("selp", f"type={INTEGERS}|{BITS}|{REALS}|{HALVES}")
def select(i):
    return i.write(f"{i.read(3, 'pred')} ? {i.read(1)} : {i.read(2)}")


@rule("cvt", f"to={INTEGERS}|u8|s8 type={INTEGERS}|u8|s8")
def whole_to_whole(i):
    return i.write(f"({i['to']}){i.read(1)}", i["to"])


@rule("cvt", f"{TO_WHOLE} ftz? sat? to={INTEGERS}|u8|s8 type={REALS}|{HALVES}")
def real_to_whole(i):
    value = f"widen({i.read(1)})"
    if i["ftz"]:
        value = f"flushed({value})"
    return i.write(f"whole<{i['to']}>({WHOLE[i['whole']]}({value}))", i["to"])


@rule("cvt", f"round=rn|rz|rm|rp sat? to={REALS}|{HALVES} type={INTEGERS}|u8|s8")
def whole_to_real(i):
    mode = MODES.get(i["round"])
    if mode and i["to"] not in ("f32", "f64"):
        i.refuse("only the nearest is known")
    if i["to"] in ("f32", "f64"):
        value = f"rounded_to<{mode}, {i['to']}>({i.read(1)})" if mode else f"({i['to']}){i.read(1)}"
    else:
        # Exact as an f64, or far beyond the largest.
        value = f"narrow<{i['to']}>((f64){i.read(1)})"
    return i.write(f"saturated({value})" if i["sat"] else value, i["to"])


@rule("cvt", f"{TO_WHOLE}? ftz? sat? to={REALS}|f16 type={REALS}|f16")
@rule("cvt", f"round=rn|rz|rm|rp ftz? sat? to=f32|{HALVES} type={REALS}|{HALVES}")
def real_to_real(i):
    value = f"widen({i.read(1)})"
    if i["ftz"]:
        value = f"flushed({value})"
    if i["whole"]:
        value = f"{WHOLE[i['whole']]}({value})"
    if mode := MODES.get(i["round"]):
        if i["to"] != "f32" or i.type != "f64":
            i.refuse("only the nearest is known")
        value = f"rounded_to<{mode}, f32>({value})"
    value = f"narrow<{i['to']}>({value})"
    if i["sat"]:
        value = f"saturated({value})"
    return i.write(f"flushed({value})" if i["ftz"] and i["to"] == "f32" else value, i["to"])


@rule("cvt", "rn to=f16x2|bf16x2 f32")
def two_reals_to_pair(i):
    i.expect(3)
    return i.write(f"paired<{i['to'][:-2]}>({i.read(1, 'f32')}, {i.read(2, 'f32')})", "u32")
