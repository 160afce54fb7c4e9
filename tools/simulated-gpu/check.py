#!/usr/bin/env python3
"""Small kernels whose outcome is known, right ones and wrong ones: `run --check`. With a name, that one alone, in this process."""
import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

THREADS = 64
CHECK_FAILED = 86
HEAD = ".version 9.0\n.target sm_80\n.address_size 64\n.global .align 4 .u32 table[4] = {5, 6, 7, 8};\n"
# A thread has its number in %n, and its own word of the output at %out and of shared memory at %own, whose first is at %all.
ENTRY = """.visible .entry {name}(.param .u64 output) {{
.reg .pred %p<9>; .reg .f32 %f<9>; .reg .b16 %h<9>; .reg .b32 %n, %all, %own, %byte, %r<20>; .reg .b64 %out, %wide, %d<9>;
.shared .align 16 .b8 words[1024];
ld.param.u64 %out, [output]; mov.u32 %n, %tid.x; mov.u32 %all, words; shl.b32 %byte, %n, 2; add.u32 %own, %all, %byte;
cvt.u64.u32 %wide, %byte; add.s64 %out, %out, %wide;
{body}
ret; }}
"""
NEIGHBOUR = "xor.b32 %r5, %byte, {}; add.u32 %r6, %all, %r5; ld.shared.u32 %r7, [%r6]; st.global.u32 [%out], %r7;"
SWAPPED = [number ^ 1 for number in range(THREADS)]

# Of a right kernel, what it gives: a number a thread, as many as are named.
RIGHT = {
    "barrier": ("st.shared.u32 [%own], %n; bar.sync 0; " + NEIGHBOUR.format(4), SWAPPED),
    "warp_barrier": ("st.shared.u32 [%own], %n; bar.warp.sync -1; " + NEIGHBOUR.format(4), SWAPPED),
    "some_have_left": ("st.global.u32 [%out], %n; setp.lt.u32 %p1, %n, 5; @%p1 ret; bar.sync 0;", list(range(THREADS))),
    "shuffle": ("shfl.sync.bfly.b32 %r5, %n, 1, 31, -1; st.global.u32 [%out], %r5;", SWAPPED),
    "ballot": ("setp.lt.u32 %p1, %n, 3; vote.sync.ballot.b32 %r5, %p1, -1; st.global.u32 [%out], %r5;", [7] * 32 + [0] * 32),
    "copied": (
        "st.global.u32 [%out], %n; cp.async.ca.shared.global [%own], [%out], 4; cp.async.wait_all; ld.shared.u32 %r5, [%own]; "
        "add.u32 %r5, %r5, 1; st.global.u32 [%out], %r5;",
        list(range(1, THREADS + 1)),
    ),
    "constants": (
        "and.b32 %r5, %byte, 15; cvt.u64.u32 %d5, %r5; mov.u64 %d4, table; add.s64 %d4, %d4, %d5; ld.global.u32 %r6, [%d4]; "
        "st.global.u32 [%out], %r6;",
        [5, 6, 7, 8] * 16,
    ),
    "rounded_up": ("add.rp.f32 %f3, 0f3f800001, 0f33000000; st.global.f32 [%out], %f3;", [0x3F800002]),
    "rounded_to_zero": ("add.rz.f32 %f3, 0f3f800001, 0f33000000; st.global.f32 [%out], %f3;", [0x3F800001]),
    "half_rounded_to_even": ("cvt.rn.bf16.f32 %h1, 0f3f808000; cvt.u32.u16 %r5, %h1; st.global.u32 [%out], %r5;", [0x3F80]),
    "bytes_chosen": ("prmt.b32 %r5, 0x44332211, 0x88776655, 0x7410; st.global.u32 [%out], %r5;", [0x88552211]),
    "smallest_divided": ("mov.u32 %r5, 0x80000000; div.s32 %r6, %r5, -1; st.global.u32 [%out], %r6;", [0x80000000]),
    "whole_number": ("cvt.rzi.s32.f32 %r5, 0fcf000000; st.global.u32 [%out], %r5;", [0x80000000]),
}
# Of a wrong one, words of what is said of it.
WRONG = {
    "race": ("st.shared.u32 [%own], %n; " + NEIGHBOUR.format(4), "races thread"),
    "race_of_warps": ("st.shared.u32 [%own], %n; bar.warp.sync -1; " + NEIGHBOUR.format(128), "races thread"),
    "beyond": ("st.global.u32 [%out+256], %n;", "illegal address"),
    "nowhere": ("mov.u64 %d4, 64; ld.global.u32 %r5, [%d4];", "illegal address"),
    "shared_beyond": ("st.shared.u32 [%own+1000], %n;", "shared memory out of bounds"),
    "crooked": ("ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%out+8];", "misaligned access"),
    "stuck": ("setp.lt.u32 %p1, %n, 5; @%p1 bra skip; bar.warp.sync -1; skip: bar.sync 0;", "deadlock"),
    "own_lane": ("bar.warp.sync 1;", "leaves out its own lane"),
    "pending": ("cp.async.ca.shared.global [%own], [%out], 4;", "copies that are not waited for"),
    "constant_written": ("mov.u64 %d4, table; st.global.u32 [%d4], %n;", "only read"),
    "trapped": ("trap;", "a trap"),
    "not_known": ("add.rn.sat.f64 %d1, %d2, %d3;", "instruction add.rn.sat.f64"),
}


def launch(name, body):
    """As a program does it: the output's words."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, module, function, output = (ctypes.c_void_p() for _ in range(4))
    words = (ctypes.c_uint32 * THREADS)()
    text = (HEAD + ENTRY.format(name=name, body=body)).encode()
    arguments = (ctypes.c_void_p * 1)(ctypes.addressof(output))
    for call, *given in [
        ("cuInit", 0),
        ("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0),
        ("cuCtxSetCurrent", context),
        ("cuModuleLoadData", ctypes.byref(module), text),
        ("cuModuleGetFunction", ctypes.byref(function), module, name.encode()),
        ("cuMemAlloc_v2", ctypes.byref(output), ctypes.c_size_t(ctypes.sizeof(words))),
        ("cuLaunchKernel", function, 1, 1, 1, THREADS, 1, 1, 0, None, arguments, None),
        ("cuMemcpyDtoH_v2", words, output, ctypes.c_size_t(ctypes.sizeof(words))),
    ]:
        if result := getattr(cuda, call)(*given):
            sys.exit(f"{call}: {result}")
    return list(words)


def check(name):
    """What is wrong, or nothing. Each has a process of its own: a kernel that is wrong ends it."""
    ran = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, env={**os.environ, "SIMULATED_RACES": "1"})
    if name in RIGHT:
        want = RIGHT[name][1]
        found = [int(word) for word in ran.stdout.split()][: len(want)]
        return "" if ran.returncode == 0 and found == want else f"{found} {ran.stderr}"
    return "" if ran.returncode != 0 and WRONG[name][1] in ran.stderr else f"exit code {ran.returncode}: {ran.stdout} {ran.stderr}"


def main():
    if sys.argv[1:]:
        print(*launch(sys.argv[1], {**RIGHT, **WRONG}[sys.argv[1]][0]))
        return
    names = [*RIGHT, *WRONG]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = {name: what for name, what in zip(names, pool.map(check, names)) if what}
    for name, what in wrong.items():
        print(f"{name}: {what.strip()}")
    sys.exit(f"{len(wrong)} of {len(names)} kernels" if wrong else 0)


if __name__ == "__main__":
    main()
