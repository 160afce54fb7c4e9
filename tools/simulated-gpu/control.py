"""Rules of jumps and calls, and of what threads do together."""
from rules import cpp_name, rule


@rule("bra", "uni?")
def jump(i):
    i.expect(1)
    return f"goto {cpp_name(i.operands[0])};"


@rule("call", "uni?")
def call(i):
    results = i.operands[0].startswith("(")
    name = i.operands[1 if results else 0]
    lists = (one.strip("()").split(",") for one in i.operands if one.startswith("("))
    arguments = [cpp_name(one.strip()) for one in sum(lists, []) if one.strip()]
    if name == "__assertfail":
        return f"assertion_failed(t, {arguments[0]});"
    if not i.function.calls(name):
        i.refuse("a function that is not known")
    return f"{cpp_name(name)}({', '.join(['t', *arguments])});"


@rule("ret", "uni?")
def leave(i):
    return "return;"


@rule("trap")
def trap(i):
    return 'fail(t, "a trap");'


@rule("bar", "sync")
def barrier(i):
    if i.operands != ["0"]:
        i.refuse("only barrier 0 of all threads is known")
    i.function.meets()
    return "barrier(t);"


@rule("bar", "warp sync")
def warp_barrier(i):
    i.expect(1)
    i.function.meets()
    return f"warp_barrier(t, {i.read(0, 'u32')});"


@rule("shfl", "sync way=up|down|bfly|idx b32")
def shuffle(i):
    i.expect(5)
    i.function.meets()
    to, _, took = (part.strip() for part in i.operands[0].partition("|"))
    took = i.write("took", "pred", took) if took else ""
    shuffled = f"shuffle<Way::{i['way']}>(t, {', '.join(i.read_all(type='u32'))}, took)"
    return f"{{ bool took; {i.write(shuffled, 'b32', to)} {took} }}"


@rule("vote", "sync ballot b32")
def ballot(i):
    i.expect(3)
    i.function.meets()
    return i.write(f"ballot(t, {i.read(1, 'pred')}, {i.read(2, 'u32')})", "b32")


@rule("match", "any sync type=b32|b64")
def match(i):
    i.expect(3)
    i.function.meets()
    return i.write(f"matching(t, {i.read(1)}, {i.read(2, 'u32')})", "b32")


@rule("mma", "sync aligned m16n8k16 row col f32 type=f16|bf16 f16_2=f16|bf16 f32_2=f32")
def matrix_product(i):
    if i.type != i["f16_2"]:
        i.refuse("matrices of two types")
    i.function.meets()
    d, a, b, c = (i.members(number) for number in range(4))
    words = lambda operands: ", ".join(i.value(one, "u32") for one in operands)
    numbers = ", ".join(i.value(one, "f32") for one in c)
    results = " ".join(i.write(f"d[{at}]", "f32", one) for at, one in enumerate(d))
    return (
        f"{{ u32 a[4] = {{{words(a)}}}, b[2] = {{{words(b)}}}; f32 c[4] = {{{numbers}}}, d[4]; "
        f"matrix_product<{i.type}>(t, d, a, b, c); {results} }}"
    )


@rule("ldmatrix", "sync aligned m8n8 x4 trans? shared b16")
def load_quarters(i):
    i.function.meets()
    results = " ".join(i.write(f"d[{at}]", "b32", one) for at, one in enumerate(i.members(0)))
    turned = "true" if i["trans"] else "false"
    return f"{{ u32 d[4]; load_quarters(t, d, {i.address(1)}, {turned}); {results} }}"
