// The embedded calibration text; LATHE_CALIBRATION_FILE is its path.
    .section .rodata
    .global lathe_calibration_begin
    .hidden lathe_calibration_begin
    .type lathe_calibration_begin, %object
lathe_calibration_begin:
    .incbin LATHE_CALIBRATION_FILE
    .global lathe_calibration_end
    .hidden lathe_calibration_end
lathe_calibration_end:
    .byte 0
    .size lathe_calibration_begin, lathe_calibration_end - lathe_calibration_begin
    .section .note.GNU-stack, "", %progbits
