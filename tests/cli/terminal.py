"""A terminal for tests: runs the program on a pseudo-terminal, types keys and shows what a screen would show."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
import unicodedata

from harness import PROGRAM, TIMEOUT

ENTER, CTRL_A, CTRL_C, CTRL_D, CTRL_E, CTRL_U, CTRL_W = "\r", "\x01", "\x03", "\x04", "\x05", "\x15", "\x17"
BACKSPACE, ALT_ENTER = "\x7f", "\x1b\r"
UP, DOWN, RIGHT, LEFT, HOME, END, DELETE = (f"\x1b[{key}" for key in ("A", "B", "C", "D", "H", "F", "3~"))
PASTE_BEGIN, PASTE_END = "\x1b[200~", "\x1b[201~"


def cells(character):
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Screen:
    """Rows of text, without a top: what scrolls off a real screen stays here."""

    TOKEN = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|\x1b.|.", re.S)

    def __init__(self, columns):
        self.columns, self.rows, self.row, self.column = columns, [{}], 0, 0

    def write(self, text):
        for match in self.TOKEN.finditer(text):
            token = match.group()
            if match.group(2):
                self.control(match.group(2), int(match.group(1) or 1) if match.group(1).isdigit() else 1)
            elif token == "\r":
                self.column = 0
            elif token == "\n":
                self.down()
            elif token >= " ":
                self.put(token)

    def down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append({})

    def put(self, character):
        width = cells(character)
        if self.column + width > self.columns:
            self.column = 0
            self.down()
        self.rows[self.row][self.column] = self.rows[self.row].get(self.column, "") * (width == 0) + character
        self.column += width

    def control(self, final, count):
        if final == "A":
            self.row = max(0, self.row - count)
        elif final == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif final == "J":
            self.rows[self.row] = {c: t for c, t in self.rows[self.row].items() if c < self.column}
            del self.rows[self.row + 1:]

    def text(self):
        lines = []
        for row in self.rows:
            line, column = "", 0
            for at in sorted(row):
                line += " " * (at - column) + row[at]
                column = at + cells(row[at][0])
            lines.append(line)
        return "\n".join(lines)


class Terminal:
    def __init__(self, *args, columns=80, rows=24):
        self.columns, self.raw = columns, b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C")
            os.execv(PROGRAM, [PROGRAM, *map(str, args)])
        self.resize(columns, rows)
        self.status = None

    def resize(self, columns, rows):
        self.columns = columns
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, *keys):
        data = "".join(keys).encode()
        while data:
            data = data[os.write(self.descriptor, data[:1024]):]

    def output(self):
        return self.raw.decode("utf-8", "ignore")

    def screen(self):
        screen = Screen(self.columns)
        screen.write(self.output())
        return screen.text()

    def wait_for(self, condition, what):
        """Reads until condition() holds."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {TIMEOUT} s; the screen:\n{self.screen()}")
            if not self.read(0.2):
                if condition():
                    return
                raise AssertionError(f"the program ended without {what}; the screen:\n{self.screen()}")

    def read(self, seconds):
        """Takes in what the program writes; False at its end."""
        if select.select([self.descriptor], [], [], seconds)[0]:
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:  # how Linux says that the other side is closed
                return False
            self.raw += data
            return bool(data)
        return True

    def wait_for_text(self, text):
        self.wait_for(lambda: text in self.screen(), repr(text))

    def wait_for_prompt(self, count=1):
        """Until the program has asked `count` times and waits in the last row."""
        self.wait_for(lambda: self.output().count("\x1b[?2004h") >= count and self.screen().split("\n")[-1] == "> ",
                      f"prompt {count}")

    def modes(self):
        return termios.tcgetattr(self.descriptor)

    def end(self):
        """The exit status (128 + signal when killed) once the program has ended by itself."""
        self.wait_for(lambda: not self.read(0.2), "end")
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)
