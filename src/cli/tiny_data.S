// The embedded default model, aligned like a mapped file's tensors; LATHE_TINY_FILE is its path.
    .section .rodata
    .balign 64
    .global lathe_tiny_begin
    .hidden lathe_tiny_begin
    .type lathe_tiny_begin, %object
lathe_tiny_begin:
    .incbin LATHE_TINY_FILE
    .global lathe_tiny_end
    .hidden lathe_tiny_end
lathe_tiny_end:
    .byte 0
    .size lathe_tiny_begin, lathe_tiny_end - lathe_tiny_begin
    .section .note.GNU-stack, "", %progbits
