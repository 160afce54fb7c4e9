// Switching between threads of a block that take turns.
#pragma once

#include <sys/mman.h>

#include "thread.h"

#ifndef __x86_64__
#error "fibers are written for x86-64"
#endif

constexpr u64 STACK_BYTES = 512 << 10;

// Keeps what a function must keep on its stack, and goes on where another left off.
extern "C" void switch_stacks(void** leave, void* enter);
asm(R"(
.text
.globl switch_stacks
.hidden switch_stacks
switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

// Takes memory as it is used.
inline char* new_stack() {
    constexpr int KIND = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, KIND, -1, 0);
    return stack == MAP_FAILED ? nullptr : (char*)stack;
}

// A stack that starts with a function: what is popped first, and where to return to. Stacks are used from different
// places on, or they would all contend for the same few lines of the caches.
inline void* prepare_stack(char* stack, u32 number, void (*start)()) {
    constexpr u32 APART = 320, WITHIN = 64 << 10;
    u64* top = (u64*)(stack + STACK_BYTES - 64 - number * APART % WITHIN);
    *--top = 0;
    *--top = (u64)start;
    for (int kept = 0; kept < 6; kept++) *--top = 0;
    return top;
}
